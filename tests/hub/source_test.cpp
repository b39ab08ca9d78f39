#include "hub/source.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "hub/checksum.h"
#include "hub/store.h"
#include "net/url.h"

namespace frugal::hub {
namespace {

TEST(Source, HubNamesAreTakenApart) {
  const Source plain = parse_source("hf:HuggingFaceTB/SmolLM2-135M-Instruct");
  EXPECT_EQ(plain.repository, "HuggingFaceTB/SmolLM2-135M-Instruct");
  EXPECT_EQ(plain.revision, "main");
  EXPECT_EQ(plain.pattern, "");
  const Source full = parse_source("hf:a/b.c@refs/pr/3:sub/*Q4_K_M*.gguf");
  EXPECT_EQ(full.repository, "a/b.c");
  EXPECT_EQ(full.revision, "refs/pr/3");
  EXPECT_EQ(full.pattern, "sub/*Q4_K_M*.gguf");
  EXPECT_EQ(parse_source("hf:gpt2").repository, "gpt2");
  EXPECT_TRUE(parse_source("HTTPS://example.org/a.gguf?sig=secret").is_url());
  EXPECT_EQ(parse_source("https://example.org/a.gguf?sig=secret").text, "https://example.org/a.gguf");
}

TEST(Source, WhatCannotBeIsSaid) {
  for (const char* bad : {"",
                          "model",
                          "hf:",
                          "hf:/",
                          "hf:a/",
                          "hf:/b",
                          "hf:a/b/c",
                          "hf:a/b:",
                          "hf:a/b@",
                          "hf:../b",
                          "hf:a/..",
                          "hf:a/b@../x",
                          "hf:a b/c",
                          "hf:a/b@x y\n",
                          "ftp://a/b",
                          "file:///etc/passwd",
                          "http://",

                          "http://user:secret@host/a.gguf",
                          "hf:a/-b",
                          "hf:.a/b"}) {
    EXPECT_THROW(parse_source(bad), UsageError) << bad;
  }
  try {
    parse_source("http://user:secret@host/a.gguf");
  } catch (const UsageError& error) {
    EXPECT_EQ(std::string(error.what()).find("secret"), std::string::npos);
  }
}

TEST(Source, PathsOfOthersStayBelow) {
  for (const char* good : {"a", "a/b.gguf", "model-00001-of-00002.safetensors", "Ünïcode.json", "a b"}) {
    EXPECT_TRUE(is_safe_path(good)) << good;
  }
  for (const char* bad : {"",         "/",        "/etc/passwd", "..",          "../a",           "a/../b",
                          "a/..",     ".",        "./a",         "a/./b",       "a//b",           "a/",
                          "a\\..\\b", "C:\\x",    "c:x",         ".ssh/config", "a/.frugal.json", "a\nb",
                          "a.part",   "a.part/b", "a.part.json", "a\x7f"}) {
    EXPECT_FALSE(is_safe_path(bad)) << bad;
  }
  EXPECT_FALSE(is_safe_path(std::string("a\0b", 3)));
  EXPECT_FALSE(is_safe_path(std::string(201, 'a')));
  std::string deep;
  for (int i = 0; i < 400; ++i) deep += "ab/";
  EXPECT_FALSE(is_safe_path(deep + "c"));
}

TEST(Source, Patterns) {
  EXPECT_TRUE(matches("*.gguf", "sub/a.gguf"));
  EXPECT_TRUE(matches("a?c", "abc"));
  EXPECT_TRUE(matches("*", ""));
  EXPECT_TRUE(matches("*Q4*M*", "x-Q4_K_M.gguf"));
  EXPECT_FALSE(matches("a?c", "ac"));
  EXPECT_FALSE(matches("*.gguf", "a.gguf.txt"));
  EXPECT_FALSE(matches("", "a"));
  EXPECT_FALSE(matches(std::string(200, '*') + "b", std::string(5000, 'a')));
}

TEST(Source, OriginsSayHostAndPort) {
  EXPECT_EQ(net::origin_of("https://Example.org/a"), "https://example.org:443");
  EXPECT_EQ(net::origin_of("http://example.org:8080/a?b"), "http://example.org:8080");
  EXPECT_NE(net::origin_of("http://127.0.0.1:1/"), net::origin_of("http://localhost:1/"));
  EXPECT_NE(net::origin_of("https://a.b@c/"), net::origin_of("https://a.b/"));
  EXPECT_EQ(net::origin_of("ftp://a/b"), "");
  EXPECT_EQ(net::origin_of("nonsense"), "");
  EXPECT_EQ(net::url_encode("a b/ü?#", true), "a%20b/%C3%BC%3F%23");
  EXPECT_EQ(net::url_encode("a/b", false), "a%2Fb");
  EXPECT_EQ(net::url_decode("a%20b%2fc%zz%"), "a b/c%zz%");
}

TEST(Source, DirectoriesInTheStore) {
  const auto of = [](const char* text) { return directory_for("/s", parse_source(text)).string(); };
  EXPECT_EQ(of("hf:owner/name"), "/s/owner/name");
  EXPECT_EQ(of("hf:owner/name@refs/pr/1"), "/s/owner/name@refs_pr_1");
  EXPECT_EQ(of("hf:gpt2"), "/s/models/gpt2");
  EXPECT_EQ(of("https://example.org/x/tiny.gguf"), "/s/example.org_443/tiny");
  for (const char* bad : {"https://example.org/", "https://example.org/x/", "https://example.org/a%2f..",
                          "https://example.org/..%2f.ssh", "https://example.org/.bashrc"}) {
    EXPECT_THROW(of(bad), Error) << bad;
  }
}

TEST(Checksums, AreThoseOfSha256AndGit) {
  const fs::path file = fs::temp_directory_path() / fmt::format("frugal_checksum_{}", ::getpid());
  write_file_atomically(file, "hello\n");
  EXPECT_EQ(checksum_of(file, Checksum::Kind::sha256).hex,
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
  EXPECT_EQ(checksum_of(file, Checksum::Kind::git_blob).hex, "ce013625030ba8dba906f756967f9e9ca394464a");
  write_file_atomically(file, "");
  EXPECT_EQ(checksum_of(file, Checksum::Kind::git_blob).hex, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
  fs::remove(file);
  EXPECT_THROW(checksum_of(file, Checksum::Kind::sha256), Error);
  const Checksum upper = Checksum::of_hex("CE013625030BA8DBA906F756967F9E9CA394464A");
  EXPECT_EQ(upper.text(), "git-blob:ce013625030ba8dba906f756967f9e9ca394464a");
  EXPECT_EQ(Checksum::parse(upper.text()), upper);
  for (const char* bad :
       {"", "abc", "sha256:", "md5:00", "sha256:ce013625030ba8dba906f756967f9e9ca394464a"}) {
    EXPECT_EQ(Checksum::parse(bad).kind, Checksum::Kind::none) << bad;
  }
  EXPECT_EQ(Checksum::of_hex(std::string(64, 'g')).kind, Checksum::Kind::none);
}

}  // namespace
}  // namespace frugal::hub
