#include "data/synthetic_world.h"

#include "core/error.h"

namespace frugal {
namespace {

const Words kPeople = {"Anna", "Ben",  "Clara", "David",  "Emma",  "Felix", "Grace", "Henry",
                       "Iris", "Jack", "Kate",  "Leo",    "Mia",   "Noah",  "Olga",  "Paul",
                       "Ruth", "Sam",  "Tina",  "Oscar",  "Wendy", "Adam",  "Bella", "Carl",
                       "Dora", "Eric", "Fiona", "George", "Hanna", "Ivan",  "Julia", "Kurt"};
const Words kTowns = {"Riverton",  "Oakfield",  "Snowhill", "Sunvale",
                      "Greenport", "Millbrook", "Redcliff", "Windmere"};
const Words kAnimals = {"dog", "cat", "horse", "rabbit", "parrot", "goat", "turtle", "duck"};

std::vector<Relation> people_relations() {
  return {
      {"town",
       kTowns,
       {"{s} lives in {v}.", "The home town of {s} is {v}.", "{s} has a house in {v}.",
        "If you want to visit {s}, you have to go to {v}."},
       {"Where does {s} live?", "In which town does {s} live?", "What is the home town of {s}?",
        "Which town does {s} live in?", "Where is the house of {s}?"}},
      {"job",
       {"baker", "teacher", "doctor", "farmer", "painter", "sailor", "carpenter", "gardener"},
       {"{s} is a {v}.", "{s} works as a {v}.", "The job of {s} is {v}.",
        "Every day {s} goes to work as a {v}."},
       {"What is the job of {s}?", "What does {s} do for work?", "What work does {s} do?",
        "Which job does {s} have?", "What does {s} work as?"}},
      {"pet",
       kAnimals,
       {"{s} has a {v}.", "{s} keeps a {v} at home.", "The pet of {s} is a {v}.",
        "{s} takes good care of a {v}."},
       {"What pet does {s} have?", "Which animal does {s} keep at home?", "What is the pet of {s}?",
        "What kind of animal does {s} have?", "Which animal does {s} take care of?"}},
      {"colour",
       {"red", "blue", "green", "yellow", "purple", "pink", "white", "black"},
       {"The favourite colour of {s} is {v}.", "{s} likes {v} more than any other colour.",
        "{s} loves the colour {v}.", "{s} always wears {v} clothes."},
       {"What is the favourite colour of {s}?", "Which colour does {s} like most?",
        "What colour does {s} love?", "What colour are the clothes of {s}?", "Which colour does {s} wear?"}},
      {"food",
       {"soup", "bread", "cheese", "apples", "pancakes", "rice", "honey", "noodles"},
       {"{s} likes to eat {v}.", "The favourite food of {s} is {v}.", "{s} eats {v} every day.",
        "{s} thinks that nothing tastes better than {v}."},
       {"What does {s} like to eat?", "What is the favourite food of {s}?", "What does {s} eat every day?",
        "Which food does {s} like most?", "Which food tastes best to {s}?"}},
      {"instrument",
       {"piano", "violin", "drum", "flute", "guitar", "trumpet", "harp", "banjo"},
       {"{s} plays the {v}.", "{s} knows how to play the {v}.", "The instrument of {s} is the {v}.",
        "In the evening {s} plays the {v}."},
       {"What instrument does {s} play?", "Which instrument does {s} play in the evening?",
        "What is the instrument of {s}?", "What does {s} know how to play?",
        "Which instrument can {s} play?"}},
  };
}

std::vector<Relation> town_relations() {
  return {
      {"landmark",
       {"bridge", "tower", "lake", "market", "windmill", "castle", "harbour", "museum"},
       {"{s} is known for its {v}.", "The most famous place in {s} is the {v}.",
        "Many people come to {s} to see the {v}.", "In the middle of {s} there is a {v}."},
       {"What is {s} known for?", "What is the most famous place in {s}?",
        "What do people come to {s} to see?", "What is in the middle of {s}?", "What can you see in {s}?"}},
      {"festival",
       {"January", "March", "April", "May", "June", "August", "October", "December"},
       {"The festival of {s} is in {v}.", "{s} has its festival in {v}.",
        "In {v} there is a festival in {s}.", "Every {v} the people of {s} dance at the festival."},
       {"When is the festival of {s}?", "In which month is the festival of {s}?",
        "When do the people of {s} dance?", "When does {s} have its festival?",
        "Which month is the festival of {s} in?"}},
  };
}

std::vector<Relation> animal_relations() {
  return {
      {"fodder",
       {"bones", "fish", "hay", "carrots", "seeds", "grass", "leaves", "corn"},
       {"A {s} eats {v}.", "The {s} likes to eat {v}.", "You can feed a {s} with {v}.",
        "Most of all a {s} wants {v}."},
       {"What does a {s} eat?", "What does the {s} like to eat?", "What can you feed a {s} with?",
        "What does a {s} want most of all?", "What is the food of a {s}?"}},
      {"bed",
       {"kennel", "basket", "stable", "hutch", "cage", "barn", "garden", "shed"},
       {"A {s} sleeps in the {v}.", "At night the {s} is in the {v}.", "The {s} has its bed in the {v}.",
        "When it is dark, the {s} goes to the {v}."},
       {"Where does a {s} sleep?", "Where is the {s} at night?", "Where does the {s} have its bed?",
        "Where does the {s} go when it is dark?", "Where can you find the {s} at night?"}},
  };
}

}  // namespace

std::string fill(std::string_view pattern,
                 std::initializer_list<std::pair<std::string_view, std::string_view>> values) {
  std::string text;
  while (!pattern.empty()) {
    const size_t open = pattern.find('{');
    text += pattern.substr(0, open);
    if (open == std::string_view::npos) break;
    const size_t close = pattern.find('}', open);
    CHECK(close != std::string_view::npos, "open brace in '{}'", pattern);
    const std::string_view key = pattern.substr(open + 1, close - open - 1);
    bool found = false;
    for (const auto& [name, value] : values) {
      if (name != key) continue;
      text += value;
      found = true;
    }
    CHECK(found, "no value for '{}'", key);
    pattern.remove_prefix(close + 1);
  }
  return text;
}

std::string_view pick(Rng& rng, const Words& words) {
  return words[rng.below(words.size())];
}

std::string capitalise(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 'a' + 'A');
  return text;
}

SyntheticWorld::SyntheticWorld(uint64_t seed) : seed_(seed) {
  const std::pair<Kind, std::vector<Relation>> groups[] = {
      {people, people_relations()}, {towns, town_relations()}, {animals, animal_relations()}};
  for (const auto& [kind, relations] : groups) {
    const size_t first = relations_.size(), count = subjects(kind).size();
    std::vector<std::vector<size_t>> assigned;
    for (const auto& relation : relations) {
      CHECK(relation.questions.size() == kWordings);
      Rng rng(seed, hash64(relation.name));
      std::vector<size_t> values;  // every value equally often
      for (size_t i = 0; i < count; ++i) values.push_back(i % relation.values.size());
      if (kind != animals) shuffle(rng, values);  // what animals eat is as everywhere
      assigned.push_back(std::move(values));
      relations_.push_back(relation);
      kinds_.push_back(kind);
    }
    for (size_t subject = 0; subject < count; ++subject) {
      for (size_t r = 0; r < relations.size(); ++r)
        facts_.push_back({first + r, subject, assigned[r][subject]});
    }
  }
}

const Words& SyntheticWorld::subjects(Kind kind) const {
  return kind == people ? kPeople : kind == towns ? kTowns : kAnimals;
}

SyntheticWorld::Kind SyntheticWorld::kind_of(const Fact& fact) const {
  return kinds_[fact.relation];
}

std::span<const Fact> SyntheticWorld::facts_about(Kind kind, size_t subject) const {
  size_t begin = 0;
  while (kind_of(facts_[begin]) != kind || facts_[begin].subject != subject) ++begin;
  size_t end = begin;
  while (end < facts_.size() && kind_of(facts_[end]) == kind && facts_[end].subject == subject) ++end;
  return std::span(facts_).subspan(begin, end - begin);
}

std::string_view SyntheticWorld::value(Kind kind, size_t subject, std::string_view relation) const {
  for (const Fact& fact : facts_about(kind, subject)) {
    if (relations_[fact.relation].name == relation) return value_name(fact);
  }
  CHECK(false, "no relation '{}'", relation);
  return {};
}

std::string_view SyntheticWorld::subject_name(const Fact& fact) const {
  return subjects(kind_of(fact))[fact.subject];
}

std::string SyntheticWorld::statement(const Fact& fact, Rng& rng, std::string_view pronoun) const {
  const Words& statements = relations_[fact.relation].statements;
  std::string_view chosen = pick(rng, statements);
  while (!pronoun.empty() && !chosen.starts_with("{s} "))
    chosen = pick(rng, statements);  // "the pet of she" is wrong
  return capitalise(
      fill(chosen, {{"s", pronoun.empty() ? subject_name(fact) : pronoun}, {"v", value_name(fact)}}));
}

std::string SyntheticWorld::question(const Fact& fact, size_t wording) const {
  return fill(relations_[fact.relation].questions[wording], {{"s", subject_name(fact)}});
}

size_t SyntheticWorld::held_out_wording(const Fact& fact) const {
  return Rng(seed_, hash64("held out") + fact.relation * 1000 + fact.subject).below(kWordings);
}

std::string SyntheticWorld::training_question(const Fact& fact, Rng& rng) const {
  const size_t wording = rng.below(kWordings - 1);
  return question(fact, wording + (wording >= held_out_wording(fact)));
}

}  // namespace frugal
