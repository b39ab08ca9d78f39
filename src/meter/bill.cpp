#include "meter/bill.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "meter/units.h"

namespace frugal {

void Bill::add(const Bill& other) {
  const bool was_empty = seconds == 0 && joules.high == 0 && energy_source.empty();
  joules.measured = was_empty ? other.joules.measured : joules.measured && other.joules.measured;
  if (was_empty) energy_source = other.energy_source;
  if (!other.energy_source.empty() && energy_source != other.energy_source) energy_source = "several sources";
  seconds += other.seconds;
  cpu_seconds += other.cpu_seconds;
  flops += other.flops;
  bytes += other.bytes;
  tokens += other.tokens;
  peak_memory_bytes = std::max(peak_memory_bytes, other.peak_memory_bytes);
  joules.low += other.joules.low;
  joules.high += other.joules.high;
  dollars += other.dollars;
  co2_g += other.co2_g;
}

void Share::add(const Bill& bill, double fraction) {
  joules.measured = empty() ? bill.joules.measured : joules.measured && bill.joules.measured;
  joules.low += fraction * bill.joules.low;
  joules.high += fraction * bill.joules.high;
  dollars += fraction * bill.dollars;
  co2_g += fraction * bill.co2_g;
}

Bill charged(const Bill& bill, const Share& share) {
  Bill out = bill;
  if (share.empty()) return out;
  out.joules.low += share.joules.low;
  out.joules.high += share.joules.high;
  out.joules.measured = bill.joules.measured && share.joules.measured;
  out.dollars += share.dollars;
  out.co2_g += share.co2_g;
  return out;
}

std::string bill_text(const Bill& bill) {
  std::string text;
  const auto line = [&](std::string_view name, const std::string& value, const std::string& note) {
    text += note.empty() ? fmt::format("  {:<12} {}\n", name, value)
                         : fmt::format("  {:<12} {:<24} {}\n", name, value, note);
  };
  const auto rate = [&](double amount, std::string_view unit) {
    return bill.seconds > 0 ? format_quantity(amount / bill.seconds, unit) : std::string();
  };
  line("time", format_duration(bill.seconds), format_duration(bill.cpu_seconds) + " of processor time");
  if (bill.tokens > 0)
    line("tokens", fmt::format("{}", bill.tokens), rate(static_cast<double>(bill.tokens), "tok/s"));
  if (bill.flops > 0) line("compute", format_quantity(bill.flops, "FLOP"), rate(bill.flops, "FLOP/s"));
  if (bill.bytes > 0) line("memory moved", format_quantity(bill.bytes, "B"), rate(bill.bytes, "B/s"));
  line("peak memory", format_quantity(static_cast<double>(bill.peak_memory_bytes), "B"), "");
  const Joules& j = bill.joules;
  line("energy",
       j.low == j.high ? format_quantity(j.low, "J")
                       : fmt::format("{} to {}", format_quantity(j.low, "J"), format_quantity(j.high, "J")),
       fmt::format("{}{}{}", j.measured ? "measured" : "modelled", bill.energy_source.empty() ? "" : ": ",
                   bill.energy_source));
  std::string per_token;
  if (bill.tokens > 0 && bill.dollars > 0) {
    per_token =
        fmt::format("${:.3g} per million tokens", bill.dollars / static_cast<double>(bill.tokens) * 1e6);
  }
  line("cost", fmt::format("${:.3g}", bill.dollars), per_token);
  line("CO2", format_quantity(bill.co2_g, "g"), "");
  return text;
}

Json bill_json(const Bill& bill) {
  return write_fields(bill);
}

}  // namespace frugal
