// Portraits, questions, passages with questions, and chats.
#include <algorithm>

#include "core/error.h"
#include "data/synthetic_world.h"

namespace frugal {

std::string profile_text(const SyntheticWorld& world, Rng& rng) {
  const uint64_t dice = rng.below(10);
  const auto kind = dice < 8   ? SyntheticWorld::people
                    : dice < 9 ? SyntheticWorld::towns
                               : SyntheticWorld::animals;
  const size_t subjects = world.subjects(kind).size();
  std::string text;
  // A portrait of one person has room for all facts; towns and animals have few, so several are described
  // together.
  const uint64_t portraits = kind == SyntheticWorld::people ? 1 + rng.below(2) : 3;
  for (uint64_t i = 0; i < portraits; ++i) {
    const size_t subject = rng.below(subjects);
    const auto known = world.facts_about(kind, subject);
    std::vector<Fact> facts(known.begin(), known.end());
    shuffle(rng, facts);
    const std::string_view pronoun = kind != SyntheticWorld::people ? std::string_view{}
                                     : world.is_woman(subject)      ? "she"
                                                                    : "he";
    for (size_t k = 0; k < facts.size(); ++k) {
      const bool by_pronoun = k > 0 && rng.below(2) == 0;
      text += world.statement(facts[k], rng, by_pronoun ? pronoun : std::string_view{});
      text += k + 1 < facts.size() ? " " : "\n";
    }
  }
  return text;
}

std::string question_text(const SyntheticWorld& world, Rng& rng) {
  std::string text;
  for (uint64_t i = 0, count = 5 + rng.below(6); i < count; ++i) {
    const Fact& fact = world.random_fact(rng);
    text += fmt::format("{}Question: {}\nAnswer: {}\n", i == 0 ? "" : "\n",
                        world.training_question(fact, rng), world.value_name(fact));
  }
  return text;
}

static std::vector<std::string> choices(Rng& rng, const Words& words, std::string_view answer) {
  std::vector<std::string> result{std::string(answer)};
  while (result.size() < 4) {
    const std::string other(pick(rng, words));
    if (std::find(result.begin(), result.end(), other) == result.end()) result.push_back(other);
  }
  shuffle(rng, result);
  return result;
}

Reading make_reading(const SyntheticWorld& world, Rng& rng) {
  static const Words colours = {"red", "blue", "green", "yellow", "purple", "pink", "white", "black"};
  static const Words things = {"ball", "key", "hat", "cup", "lamp", "book", "kite", "ring", "bell", "spoon"};
  static const Words places = {"garden", "kitchen", "forest", "school", "attic", "cellar", "park", "shop"};
  static const Words found = {"{s} found a {c} {t} in the {p}.", "In the {p} {s} saw a {c} {t}.",
                              "One day {s} went to the {p} and picked up a {c} {t}."};
  static const Words gave = {"{s} gave the {t} to {o}.", "Later {o} got the {t} from {s}.",
                             "{s} did not need the {t}, so {o} took it."};
  static const Words thanked = {"{o} was very happy with it.", "{o} said thank you.",
                                "Then they both went home."};
  const Words& people = world.subjects(SyntheticWorld::people);
  const size_t s = rng.below(people.size()), o = (s + 1 + rng.below(people.size() - 1)) % people.size();
  const std::string_view c = pick(rng, colours), t = pick(rng, things), p = pick(rng, places);
  Reading reading;
  for (const Words* sentences : {&found, &gave, &thanked}) {
    reading.passage += reading.passage.empty() ? "" : " ";
    reading.passage +=
        fill(pick(rng, *sentences), {{"s", people[s]}, {"o", people[o]}, {"c", c}, {"t", t}, {"p", p}});
  }
  const auto ask = [&](std::string_view pattern, std::string_view answer, const Words& others) {
    reading.asks.push_back(
        {fill(pattern, {{"t", t}, {"s", people[s]}}), std::string(answer), choices(rng, others, answer)});
  };
  ask("What colour was the {t}?", c, colours);
  ask("Where was the {t} at first?", p, places);
  ask("Who had the {t} in the end?", people[o], people);
  ask("What did {s} find?", t, things);
  return reading;
}

std::string reading_text(const SyntheticWorld& world, Rng& rng) {
  std::string text;
  for (uint64_t i = 0, count = 2 + rng.below(2); i < count; ++i) {
    Reading reading = make_reading(world, rng);
    shuffle(rng, reading.asks);
    text += (i == 0 ? "" : "\n") + reading.passage + "\n";
    for (const auto& ask : reading.asks)
      text += fmt::format("Question: {}\nAnswer: {}\n", ask.question, ask.answer);
  }
  return text;
}

std::vector<ChatMessage> chat_messages(const SyntheticWorld& world, Rng& rng) {
  static const Words hello = {"Hello!", "Hi there.", "Good morning.", "Good evening.", "Hey, are you there?"};
  static const Words welcome = {"Hello! How can I help you?", "Hi! What would you like to know?",
                                "Good to see you. Ask me something.", "Welcome! What can I do for you?"};
  static const Words thanks = {"Thank you!", "Thanks a lot.", "That is all. Goodbye!", "Great, thank you."};
  static const Words bye = {"You are welcome!", "My pleasure. Goodbye!", "Any time!", "Glad to help."};
  static const Words wishes = {"Tell me a story.", "Please tell me a short story.",
                               "I would like to hear a story."};
  std::vector<ChatMessage> messages;
  const auto turn = [&](std::string question, std::string answer) {
    messages.push_back({"user", std::move(question)});
    messages.push_back({"assistant", std::move(answer)});
  };
  const auto say = [&](const Words& question, const Words& answer) {
    const std::string_view first = pick(rng, question);
    turn(std::string(first), std::string(pick(rng, answer)));
  };
  if (rng.below(2) == 0) say(hello, welcome);
  if (rng.below(8) == 0) {
    const std::string_view wish = pick(rng, wishes);
    turn(std::string(wish), story_text(world, rng));
  } else {
    for (uint64_t i = 0, count = 2 + rng.below(3); i < count; ++i) {
      if (rng.below(3) == 0) {
        const Sum sum = random_sum(rng, false);
        const std::string question = sum_question(sum, rng);
        turn(question, sum_steps(sum));
      } else {
        const Fact& fact = world.random_fact(rng);
        const std::string question = world.training_question(fact, rng);
        turn(question, world.statement(fact, rng));
      }
    }
  }
  if (rng.below(3) == 0) say(thanks, bye);
  return messages;
}

}  // namespace frugal
