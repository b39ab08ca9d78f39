#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>

#include "core/error.h"

namespace frugal {
namespace {

constexpr size_t kMaxPattern = 64 << 10;
constexpr uint32_t kMatchLimit =
    100'000'000;  // PCRE2 counts backtracks; real patterns on 10 MB stay far below
constexpr size_t kStackStart = 64 << 10, kStackMax = 64 << 20;

std::string pcre_message(int code) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

template <class T, void (*Free)(T*)>
struct Deleter {
  void operator()(T* p) const { Free(p); }
};
template <class T, void (*Free)(T*)>
using Handle = std::unique_ptr<T, Deleter<T, Free>>;

}  // namespace

struct Regex::Code {
  Handle<pcre2_code, pcre2_code_free> code;
};

Regex::Regex(std::string_view onig_pattern) : pattern_(onig_pattern), code_(std::make_unique<Code>()) {
  if (pattern_.size() > kMaxPattern)
    fail("pattern of {} bytes; at most {} are accepted", pattern_.size(), kMaxPattern);
  const std::string translated = translate_pattern(pattern_);
  Handle<pcre2_compile_context, pcre2_compile_context_free> context(pcre2_compile_context_create(nullptr));
  CHECK(context);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  size_t offset = 0;
  // MULTILINE: in Ruby's syntax ^ and $ always match at line ends.
  code_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                  PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &offset, context.get()));
  if (!code_->code)
    fail("pattern {:?}: {} (at byte {} of {:?})", pattern_, pcre_message(error), offset, translated);
  pcre2_jit_compile(code_->code.get(), PCRE2_JIT_COMPLETE);  // where there is no JIT, matching interprets
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

struct Regex::Matcher::State {
  Handle<pcre2_match_data, pcre2_match_data_free> data;
  Handle<pcre2_match_context, pcre2_match_context_free> context;
  Handle<pcre2_jit_stack, pcre2_jit_stack_free> stack;
};

Regex::Matcher::Matcher(const Regex& regex) : regex_(&regex), state_(std::make_unique<State>()) {
  state_->data.reset(pcre2_match_data_create(1, nullptr));
  state_->context.reset(pcre2_match_context_create(nullptr));
  CHECK(state_->data && state_->context);
  pcre2_set_match_limit(state_->context.get(), kMatchLimit);
}

Regex::Matcher::~Matcher() = default;
Regex::Matcher::Matcher(Matcher&&) noexcept = default;

std::optional<Regex::Match> Regex::Matcher::find(std::string_view text, size_t start) {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const auto match = [&] {
    return pcre2_match(regex_->code_->code.get(), subject, text.size(), start, PCRE2_NO_UTF_CHECK,
                       state_->data.get(), state_->context.get());
  };
  int result = match();
  if (result == PCRE2_ERROR_JIT_STACKLIMIT && !state_->stack) {
    state_->stack.reset(pcre2_jit_stack_create(kStackStart, kStackMax, nullptr));
    CHECK(state_->stack);
    pcre2_jit_stack_assign(state_->context.get(), nullptr, state_->stack.get());
    result = match();
  }
  if (result == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (result < 0) {
    fail("pattern {:?} on a text of {} bytes: {}", regex_->pattern_, text.size(), pcre_message(result));
  }
  const size_t* range = pcre2_get_ovector_pointer(state_->data.get());
  // A lookbehind can make \K-like reversed ranges; those constructs are refused at translation.
  CHECK(range[0] <= range[1] && range[1] <= text.size());
  return Match{range[0], range[1]};
}

}  // namespace frugal
