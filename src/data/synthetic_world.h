// The closed world of the synthetic corpus: who lives where, does what, likes what, and how one says and asks
// so. Internal to src/data.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/rng.h"
#include "data/source.h"

namespace frugal {

using Words = std::vector<std::string_view>;

// Replaces each {key} of the template. CHECK: every key is known.
std::string fill(std::string_view pattern,
                 std::initializer_list<std::pair<std::string_view, std::string_view>> values);
std::string_view pick(Rng& rng, const Words& words);
// "he is glad." -> "He is glad."
std::string capitalise(std::string text);
template <class T>
void shuffle(Rng& rng, std::vector<T>& items) {
  for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[rng.below(i)]);
}

// A property that every subject of a kind has: {s} is the subject, {v} the value.
struct Relation {
  std::string_view name;
  Words values;
  Words statements;
  Words questions;  // kWordings of them
};

struct Fact {
  size_t relation = 0, subject = 0, value = 0;
};

class SyntheticWorld {
 public:
  static constexpr size_t kWordings = 5;
  explicit SyntheticWorld(uint64_t seed);

  enum Kind : size_t { people, towns, animals };
  const Words& subjects(Kind kind) const;
  bool is_woman(size_t person) const { return person % 2 == 0; }
  const std::vector<Fact>& facts() const { return facts_; }
  const std::vector<Relation>& relations() const { return relations_; }
  // The facts about one subject, in the order of the relations.
  std::span<const Fact> facts_about(Kind kind, size_t subject) const;
  std::string_view value(Kind kind, size_t subject, std::string_view relation) const;

  std::string_view subject_name(const Fact& fact) const;
  std::string_view value_name(const Fact& fact) const { return relations_[fact.relation].values[fact.value]; }
  // One of the fact's statements, with a pronoun for the subject's name when one is given.
  std::string statement(const Fact& fact, Rng& rng, std::string_view pronoun = {}) const;
  std::string question(const Fact& fact, size_t wording) const;
  // Any wording of the fact's question but the held-out one.
  std::string training_question(const Fact& fact, Rng& rng) const;
  size_t held_out_wording(const Fact& fact) const;
  const Fact& random_fact(Rng& rng) const { return facts_[rng.below(facts_.size())]; }

 private:
  Kind kind_of(const Fact& fact) const;
  std::vector<Relation> relations_;
  std::vector<Kind> kinds_;  // of each relation's subjects
  std::vector<Fact> facts_;  // by kind, then subject, then relation
  uint64_t seed_;
};

// Texts made of the world; each draws from its own generator.
std::string profile_text(const SyntheticWorld& world, Rng& rng);
std::string question_text(const SyntheticWorld& world, Rng& rng);
std::string story_text(const SyntheticWorld& world, Rng& rng);
std::vector<ChatMessage> chat_messages(const SyntheticWorld& world, Rng& rng);

// A sum with its steps: "40 + 30 = 70, 7 + 8 = 15, 70 + 15 = 85. So 47 + 38 = 85."
struct Sum {
  int64_t a = 0, b = 0;
  bool minus = false;
  int64_t result() const { return minus ? a - b : a + b; }
  std::string expression() const;  // "47 + 38"
};
bool is_held_out(const Sum& sum);         // both above ten and not round, by a hash that ignores the order
Sum random_sum(Rng& rng, bool held_out);  // as the text has them; held out or certainly not
// Each operand has 1 to `digits` digits, all as often (of what is held out: at least two).
Sum random_sum(Rng& rng, bool held_out, int64_t digits);
std::string sum_steps(const Sum& sum);
std::string sum_question(const Sum& sum, Rng& rng);  // "What is 47 + 38?"
std::string sums_text(const SyntheticWorld& world, Rng& rng);

// A passage of a few sentences and questions about it; the answer is a word of the passage.
struct Reading {
  std::string passage;
  struct Ask {
    std::string question, answer;
    std::vector<std::string> choices;
  };
  std::vector<Ask> asks;
};
Reading make_reading(const SyntheticWorld& world, Rng& rng);
std::string reading_text(const SyntheticWorld& world, Rng& rng);

}  // namespace frugal
