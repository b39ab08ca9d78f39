// What something cost. One visitor lists the fields: JSON, the ledger's columns and exports follow from it.
#pragma once

#include <cstdint>
#include <string>

#include "core/fields.h"

namespace frugal {

// Energy as an interval. measured: read from the processor's counters; else computed from a stated model.
struct Joules {
  double low = 0, high = 0;
  bool measured = false;
  double middle() const { return (low + high) / 2; }
  void visit(FieldVisitor& v) {
    v.field("low", low, "lower bound of the energy, J");
    v.field("high", high, "upper bound of the energy, J");
    v.field("measured", measured, "read from the processor's counters, not modelled");
  }
};

struct Bill {
  double seconds = 0;             // wall clock
  double cpu_seconds = 0;         // over all threads
  double flops = 0;               // counted by the callers; exact up to 2^53, then to 1e-16
  double bytes = 0;               // moved between memory and processor, counted by the callers
  int64_t tokens = 0;             // processed
  int64_t peak_memory_bytes = 0;  // resident
  Joules joules;
  double dollars = 0;         // at the middle of the energy interval
  double co2_g = 0;           // likewise
  std::string energy_source;  // where the joules come from, for people

  void visit(FieldVisitor& v) {
    v.field("seconds", seconds, "wall-clock seconds");
    v.field("cpu_seconds", cpu_seconds, "processor seconds over all threads");
    v.field("flops", flops, "floating-point operations");
    v.field("bytes", bytes, "bytes moved between memory and processor");
    v.field("tokens", tokens, "tokens processed");
    v.field("peak_memory_bytes", peak_memory_bytes, "peak resident memory");
    v.field("joules", joules, "energy");
    v.field("dollars", dollars, "cost");
    v.field("co2_g", co2_g, "grams of CO2 equivalent");
    v.field("energy_source", energy_source, "how the energy is known");
  }

  // Sums everything but memory, whose maximum it takes; measured only if both are.
  void add(const Bill& other);
};

// The part of a cost that passes from the run that spent it to those that use what it made.
struct Share {
  Joules joules;
  double dollars = 0, co2_g = 0;

  void visit(FieldVisitor& v) {
    v.field("joules", joules, "energy");
    v.field("dollars", dollars, "cost");
    v.field("co2_g", co2_g, "grams of CO2 equivalent");
  }
  // Adds `fraction` (negative: what is passed on) of a bill's costs; measured only if all that is added is.
  void add(const Bill& bill, double fraction);
  bool empty() const { return joules.high == 0 && dollars == 0 && co2_g == 0; }
};
// The bill with the costs of a share added; time, work and memory stay where they were.
Bill charged(const Bill& bill, const Share& share);

// A few aligned lines, ending with a newline: what a run ends with.
std::string bill_text(const Bill& bill);
// The contract's JSON object (design: joules {low, high, measured}, dollars, co2_g, ...).
Json bill_json(const Bill& bill);

}  // namespace frugal
