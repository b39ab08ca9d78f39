// URLs: encoding, and the parts that messages and secrets depend on.
#pragma once

#include <string>
#include <string_view>

namespace frugal::net {

// Percent-encoding of everything but unreserved characters and, if wanted, '/'.
std::string url_encode(std::string_view text, bool keep_slashes);
std::string url_decode(std::string_view text);
// "https://host:port" in lower case with the port always said; empty when it is no http or https URL.
std::string origin_of(const std::string& url);
// For messages: without query and fragment.
std::string without_query(const std::string& url);
// Whether it holds a user name or a password.
bool has_credentials(const std::string& url);
// Whether it leads to this machine: localhost, 127.0.0.0/8 or [::1].
bool is_loopback(const std::string& url);

}  // namespace frugal::net
