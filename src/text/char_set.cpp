#include "text/char_set.h"

#include "core/error.h"
#include "text/pcre.h"

namespace frugal {

struct CharSet::Code {
  pcre::Code code;
};

struct CharSet::Plane {
  static constexpr size_t kPage = 256;             // characters asked about at once
  std::atomic<uint8_t> known[65536 / kPage] = {};  // by page
  std::atomic<uint64_t> bits[65536 / 64] = {};
};

CharSet::CharSet(const std::string& pattern)
    : code_(std::make_unique<Code>()), planes_(new std::array<std::atomic<Plane*>, kPlanes>{}) {
  code_->code =
      pcre::compile(pattern, PCRE2_ANCHORED | PCRE2_ENDANCHORED, fmt::format("pattern {:?}", pattern));
  for (uint32_t c = 0; c < 0x80; ++c) {
    if (ask(c)) ascii_[c / 64] |= uint64_t{1} << (c % 64);
  }
}

CharSet::CharSet(CharSet&&) noexcept = default;
CharSet::~CharSet() {
  if (!planes_) return;
  for (auto& plane : *planes_) delete plane.load();
}

bool CharSet::ask(uint32_t code) const {
  std::string text;
  append_utf8(text, code);
  const pcre::MatchData data(pcre2_match_data_create(1, nullptr));
  CHECK(data);
  const int result = pcre2_match(code_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0,
                                 0, data.get(), nullptr);
  CHECK(result >= 0 || result == PCRE2_ERROR_NOMATCH, "PCRE2 error {}", result);
  return result >= 0;
}

// Two threads may fill the same page: both write the same.
bool CharSet::contains_wide(uint32_t code) const {
  std::atomic<Plane*>& slot = (*planes_)[code >> 16];
  Plane* plane = slot.load(std::memory_order_acquire);
  if (!plane) {
    auto made = std::make_unique<Plane>();
    if (slot.compare_exchange_strong(plane, made.get(), std::memory_order_acq_rel)) plane = made.release();
  }
  const uint32_t within = code & 0xFFFF, page = within / Plane::kPage;
  if (!plane->known[page].load(std::memory_order_acquire)) {
    const uint32_t first = code - code % Plane::kPage;
    for (uint32_t word = 0; word < Plane::kPage / 64; ++word) {
      uint64_t bits = 0;
      for (uint32_t i = 0; i < 64; ++i) {
        const uint32_t c = first + word * 64 + i;
        const bool surrogate = c >= 0xD800 && c < 0xE000;
        if (!surrogate && ask(c)) bits |= uint64_t{1} << i;
      }
      plane->bits[(first & 0xFFFF) / 64 + word].store(bits, std::memory_order_relaxed);
    }
    plane->known[page].store(1, std::memory_order_release);
  }
  return plane->bits[within / 64].load(std::memory_order_relaxed) >> (within % 64) & 1;
}

}  // namespace frugal
