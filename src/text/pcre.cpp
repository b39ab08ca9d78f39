#include "text/pcre.h"

#include "core/error.h"

namespace frugal {

pcre::Code pcre::compile(const std::string& pattern, uint32_t more_options, const std::string& what) {
  const std::unique_ptr<pcre2_compile_context, Deleter<pcre2_compile_context, pcre2_compile_context_free>>
      context(pcre2_compile_context_create(nullptr));
  CHECK(context);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  size_t offset = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                          PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | more_options, &error, &offset,
                          context.get()));
  if (code) return code;
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(error, text, sizeof text);
  fail("{}: {} (at byte {} of {:?})", what, reinterpret_cast<const char*>(text), offset, pattern);
}

}  // namespace frugal
