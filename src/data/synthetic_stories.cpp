// Short stories: a plot with a hero, a friend, and what the world knows of them, told with many wordings.
#include <array>

#include "data/synthetic_world.h"

namespace frugal {
namespace {

using Slots = std::initializer_list<std::pair<std::string_view, std::string_view>>;

// A plot is a list of sentences, each of which has several wordings; facts in braces come from the world.
using Plot = std::vector<Words>;

const Plot& lost_pet() {
  static const Plot plot = {
      {"{s} lived in {town} and had a {pet}.", "In {town} there lived a {job} named {s} who had a {pet}.",
       "{s} was a {job} in {town}. At home {he} had a {pet}."},
      {"One {time} the {pet} was gone.", "One {time} {s} could not find the {pet}.",
       "One {time} the {pet} ran away."},
      {"{s} looked behind the door and under the table, but it was not there.",
       "{s} looked in the {bed}, but the {bed} was empty.", "{s} called and called, but nothing moved."},
      {"{He} was very sad.", "{s} sat down and cried.", "{He} did not know what to do."},
      {"Then {o} came by and asked, \"What is wrong?\"", "Then {his} friend {o} came to the door.",
       "\"Why are you sad?\" asked {o}."},
      {"\"My {pet} is gone,\" said {s}.", "\"I cannot find my {pet},\" said {s}.",
       "\"Please help me to find my {pet},\" said {s}."},
      {"\"Let us take some {fodder},\" said {o}. \"A {pet} eats {fodder}.\"",
       "{o} knew that a {pet} likes {fodder}, so they took some with them.",
       "\"I have some {fodder} for it,\" said {o}."},
      {"They walked to the {landmark} of {town}.", "Together they went to the {landmark}.",
       "They looked near the {landmark} of {town}."},
      {"There was the {pet}, and it came to them at once.", "The {pet} was sleeping there in the sun.",
       "And there sat the {pet} and waited for them."},
      {"{s} was so happy that {he} made {ofood} for {o}.", "{s} thanked {o} and they ate {food} together.",
       "In the evening {s} played the {instrument} for {o}."},
      {"From that day on, {s} always closed the door.", "After that, the {pet} never ran away again.",
       "A good friend is a great help."}};
  return plot;
}

const Plot& present() {
  static const Plot plot = {
      {"It was the birthday of {o}.", "The birthday of {o} had come.",
       "On the birthday of {o} it was a warm {time}."},
      {"{s} wanted to give {ohim} a present.", "{s} thought about a present for {ohim}.",
       "{s} asked, \"What can I give to my friend?\""},
      {"{s} knew that {o} loves the colour {ocolour}.", "\"{o} likes {ocolour} most of all,\" said {s}.",
       "Everybody knows that {o} always wears {ocolour} clothes."},
      {"So {he} went to the shop and bought a {ocolour} {thing}.", "So {he} made a {ocolour} {thing}.",
       "In the shop {s} found a {ocolour} {thing}."},
      {"{He} put the {thing} into a box.", "{He} tied a ribbon around the {thing}.",
       "{He} hid the {thing} under a coat."},
      {"On the way it began to rain.", "On the way {he} met the {pet} of a neighbour.",
       "The way to {otown} was long."},
      {"But {s} went on and came to the house of {o} in {otown}.", "At last {s} came to {otown}.",
       "{s} knocked at the door of {o} in {otown}."},
      {"\"This is for you,\" said {s}.", "\"Happy birthday!\" said {s}.",
       "{s} smiled and gave {ohim} the present."},
      {"{o} opened it and saw the {ocolour} {thing}.", "\"A {ocolour} {thing}!\" said {o}.",
       "When {o} saw the {ocolour} {thing}, {ohe} laughed."},
      {"They ate {ofood} and {o} played the {oinstrument}.", "There was {ofood} for everyone.",
       "{o} played the {oinstrument} until it was dark."},
      {"It was the best birthday of all.", "Both of them were very happy.",
       "And {o} still has the {thing} today."}};
  return plot;
}

const Plot& concert() {
  static const Plot plot = {
      {"Every {month} there is a festival in {town}.",
       "The people of {town} were getting ready for the festival.",
       "Soon it was {month}, and {town} had its festival."},
      {"{s} plays the {instrument}, and {o} plays the {oinstrument}.",
       "{s} took the {instrument} and {o} took the {oinstrument}.",
       "\"I play the {instrument},\" said {s}. \"And I play the {oinstrument},\" said {o}."},
      {"They wanted to play together at the {landmark}.", "\"Let us play at the {landmark},\" said {o}.",
       "The people asked them to play near the {landmark}."},
      {"But the first song sounded bad.", "But {s} was afraid.", "But on that {time} it was cold and windy."},
      {"\"We have to try again,\" said {o}.", "\"Do not be afraid,\" said {o}.",
       "\"We can do it,\" said {o}."},
      {"So they played every day for a week.", "They played the song again and again.",
       "They worked hard until it was dark."},
      {"When the day came, many people stood at the {landmark}.", "At the festival everybody listened.",
       "Then the great day came."},
      {"The {instrument} and the {oinstrument} sounded wonderful.", "This time the song was beautiful.",
       "They did not make a single mistake."},
      {"The people danced and clapped.", "Even the old {ojob} danced.",
       "Everybody shouted, \"Again! Again!\""},
      {"After that {s} ate {food} and {o} ate {ofood}.",
       "{s} got a {colour} flower, because {he} loves {colour}.", "\"Thank you for your help,\" said {s}."},
      {"Who works hard can do great things.", "They were friends for ever.",
       "That night they slept very well."}};
  return plot;
}

const Plot& journey() {
  static const Plot plot = {
      {"{s} wanted to visit {o} in {otown}.", "One {time} {s} left {town} to see {o}.",
       "{o} wrote a letter: \"Come to {otown} and visit me!\""},
      {"{He} took some {food} and a {colour} {thing} with {him}.", "{He} packed {food} for the way.",
       "{He} put on a {colour} coat, took some {food} and went out."},
      {"The {pet} of {s} came along.", "{s} took the {pet} along.",
       "{s} could not leave the {pet} alone, so it came along."},
      {"First they walked through a dark forest.", "First they came to a deep river.",
       "First they went over a high hill."},
      {"Then {s} was lost.", "Then a big storm came.", "Then {s} did not know the way any more."},
      {"An old {ojob} showed {him} the way.", "A kind woman said, \"{otown} is behind that hill.\"",
       "\"Do not worry,\" said a man. \"You only have to go on.\""},
      {"{s} gave {food} to the {pet}, but a {pet} eats only {fodder}.",
       "The {pet} found some {fodder} and was content.", "They rested, and the {pet} ate {fodder}."},
      {"At last they saw the {olandmark} of {otown}.",
       "In the evening they stood before the {olandmark} of {otown}.",
       "Then {s} saw the {olandmark} and knew that this was {otown}."},
      {"{o} was waiting there.", "{o} ran to meet them.", "There stood {o} and smiled."},
      {"They ate {ofood} and talked until late.", "\"You must be hungry,\" said {o} and brought {ofood}.",
       "{o} played the {oinstrument} for {him}."},
      {"It is good to have a friend.", "The next day they went to see the whole town.",
       "{s} stayed in {otown} for three days."}};
  return plot;
}

}  // namespace

std::string story_text(const SyntheticWorld& world, Rng& rng) {
  static const Words times = {"morning", "day", "evening", "afternoon", "Sunday", "winter day", "summer day"};
  static const Words things = {"ball", "hat", "cup", "lamp", "book", "kite", "ring", "bell"};
  const auto people = SyntheticWorld::people;
  const Words& names = world.subjects(people);
  const size_t s = rng.below(names.size()), o = (s + 1 + rng.below(names.size() - 1)) % names.size();
  const auto of = [&](size_t person, std::string_view relation) {
    return world.value(people, person, relation);
  };
  const auto index = [&](SyntheticWorld::Kind kind, std::string_view name) {
    size_t i = 0;
    while (world.subjects(kind)[i] != name) ++i;
    return i;
  };
  const size_t town = index(SyntheticWorld::towns, of(s, "town")),
               o_town = index(SyntheticWorld::towns, of(o, "town"));
  const size_t pet = index(SyntheticWorld::animals, of(s, "pet"));
  const bool she = world.is_woman(s), o_she = world.is_woman(o);
  const std::string_view time = pick(rng, times), thing = pick(rng, things);
  const std::array<const Plot*, 4> plots = {&lost_pet(), &present(), &concert(), &journey()};
  const Plot& plot = *plots[rng.below(plots.size())];
  std::string text;
  for (const Words& wordings : plot) {
    const std::string sentence =
        fill(pick(rng, wordings), {{"s", names[s]},
                                   {"o", names[o]},
                                   {"town", of(s, "town")},
                                   {"otown", of(o, "town")},
                                   {"job", of(s, "job")},
                                   {"ojob", of(o, "job")},
                                   {"pet", of(s, "pet")},
                                   {"food", of(s, "food")},
                                   {"ofood", of(o, "food")},
                                   {"colour", of(s, "colour")},
                                   {"ocolour", of(o, "colour")},
                                   {"instrument", of(s, "instrument")},
                                   {"oinstrument", of(o, "instrument")},
                                   {"landmark", world.value(SyntheticWorld::towns, town, "landmark")},
                                   {"olandmark", world.value(SyntheticWorld::towns, o_town, "landmark")},
                                   {"month", world.value(SyntheticWorld::towns, town, "festival")},
                                   {"fodder", world.value(SyntheticWorld::animals, pet, "fodder")},
                                   {"bed", world.value(SyntheticWorld::animals, pet, "bed")},
                                   {"he", she ? "she" : "he"},
                                   {"He", she ? "She" : "He"},
                                   {"his", she ? "her" : "his"},
                                   {"him", she ? "her" : "him"},
                                   {"ohe", o_she ? "she" : "he"},
                                   {"ohim", o_she ? "her" : "him"},
                                   {"time", time},
                                   {"thing", thing}});
    text += (text.empty() ? "" : " ") + sentence;
  }
  return text;
}

}  // namespace frugal
