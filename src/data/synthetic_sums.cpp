// Addition and subtraction with the steps written out. Additions go place by place, subtractions ten by ten,
// so that every step is a sum of small or round numbers.
#include <algorithm>

#include "core/error.h"
#include "data/synthetic_world.h"

namespace frugal {

std::string Sum::expression() const {
  return fmt::format("{} {} {}", a, minus ? '-' : '+', b);
}

bool is_held_out(const Sum& sum) {
  const auto hard = [](int64_t x) { return x >= 10 && x % 10 != 0; };
  if (!hard(sum.a) || !hard(sum.b)) return false;
  return hash64(fmt::format("{} {} {}", sum.minus, std::max(sum.a, sum.b), std::min(sum.a, sum.b))) % 8 == 0;
}

Sum random_sum(Rng& rng, bool held_out) {
  for (;;) {
    Sum sum;
    sum.minus = rng.below(2) == 0;
    const uint64_t size = held_out ? 5 : rng.below(10);
    const auto number = [&] {
      if (size < 2) return rng.below(10);
      if (size < 9) return 10 + rng.below(90);
      return 100 + rng.below(400);
    };
    sum.a = static_cast<int64_t>(number());
    sum.b = static_cast<int64_t>(number());
    if (sum.minus && sum.a < sum.b) std::swap(sum.a, sum.b);
    if (is_held_out(sum) == held_out) return sum;
  }
}

Sum random_sum(Rng& rng, bool held_out, int64_t digits) {
  const auto number = [&] {
    uint64_t low = 1;
    for (uint64_t more = rng.below(static_cast<uint64_t>(digits)); more > 0; --more) low *= 10;
    return static_cast<int64_t>(low == 1 ? rng.below(10) : low + rng.below(9 * low));
  };
  for (;;) {
    Sum sum{.minus = rng.below(2) == 0};
    sum.a = number();
    sum.b = number();
    if (sum.minus && sum.a < sum.b) std::swap(sum.a, sum.b);
    if (is_held_out(sum) == held_out) return sum;
  }
}

std::string sum_steps(const Sum& sum) {
  std::string steps;
  const auto step = [&](int64_t a, bool minus, int64_t b) {
    const Sum part{a, b, minus};
    steps += fmt::format("{}{} = {}", steps.empty() ? "" : ", ", part.expression(), part.result());
    return part.result();
  };
  int64_t left = sum.minus ? sum.a : 0;
  for (const int64_t place : {100, 10, 1}) {
    const int64_t x = sum.a / place % 10 * place, y = sum.b / place % 10 * place;
    if (sum.minus) {
      if (y != 0) left = step(left, true, y);
    } else if (x != 0 || y != 0) {
      const int64_t part = x != 0 && y != 0 ? step(x, false, y) : x + y;
      left = left != 0 ? step(left, false, part) : part;
    }
  }
  const std::string result = fmt::format("{} = {}", sum.expression(), sum.result());
  if (steps.empty() || steps == result) return result + ".";
  return steps + ". So " + result + ".";
}

std::string sum_question(const Sum& sum, Rng& rng) {
  static const Words wordings = {"What is {e}?", "How much is {e}?", "Can you work out {e}?",
                                 "What do you get for {e}?"};
  return fill(pick(rng, wordings), {{"e", sum.expression()}});
}

// "Anna has 12 apples. Ben gives Anna 7 more. ..." with the sum it comes to.
static std::string word_problem(const SyntheticWorld& world, Rng& rng, const Sum& sum) {
  static const Words things = {"apples", "coins", "stamps", "shells", "books", "stones", "cards", "eggs"};
  static const Words more = {
      "{s} has {a} {t}. {o} gives {s} {b} more. How many {t} does {s} have now?",
      "There are {a} {t} in a box. {s} puts {b} more {t} into it. How many {t} are in the box?",
      "{s} finds {a} {t} and {o} finds {b} {t}. How many {t} do they have together?"};
  static const Words less = {
      "{s} has {a} {t}. {s} gives {b} of them to {o}. How many {t} does {s} have left?",
      "There are {a} {t} in a box. {s} takes {b} of them out. How many {t} are left in the box?",
      "{s} had {a} {t} and lost {b} of them. How many {t} does {s} still have?"};
  const Words& people = world.subjects(SyntheticWorld::people);
  const size_t s = rng.below(people.size()), o = (s + 1 + rng.below(people.size() - 1)) % people.size();
  const std::string_view thing = pick(rng, things);
  return fill(pick(rng, sum.minus ? less : more), {{"s", people[s]},
                                                   {"o", people[o]},
                                                   {"t", thing},
                                                   {"a", std::to_string(sum.a)},
                                                   {"b", std::to_string(sum.b)}});
}

std::string sums_text(const SyntheticWorld& world, Rng& rng) {
  std::string text;
  for (uint64_t i = 0, count = 4 + rng.below(5); i < count; ++i) {
    const Sum sum = random_sum(rng, false);
    const std::string question = rng.below(5) == 0 ? word_problem(world, rng, sum) : sum_question(sum, rng);
    text += fmt::format("{}Question: {}\nAnswer: {}\n", i == 0 ? "" : "\n", question, sum_steps(sum));
  }
  return text;
}

}  // namespace frugal
