// The tables: model and data, evaluation, samples, the bill, the recipe.
#include <fmt/core.h>

#include <algorithm>

#include "meter/units.h"
#include "pipeline/report/html.h"
#include "pipeline/report/sections.h"
#include "pipeline/toml.h"

namespace frugal::report {
namespace {

// A row when the stage told it.
void row(HtmlTable& table, const char* name, const Json& object, const char* key) {
  if (object.contains(key) && object[key].is_number())
    table.rows.push_back({name, count_text(number(object, key))});
}

std::string model_table(const Json& model) {
  HtmlTable table;
  table.rows.push_back({"architecture", text(model, "architecture")});
  row(table, "parameters", model, "parameters");
  row(table, "used for each token", model, "active_parameters");
  row(table, "in the embedding", model, "embedding_parameters");
  if (number(model, "mtp_parameters") > 0) row(table, "in multi-token prediction", model, "mtp_parameters");
  row(table, "layers", model, "layers");
  row(table, "width", model, "hidden_size");
  if (number(model, "experts") > 0) {
    table.rows.push_back(
        {"routed experts, used for a token",
         fmt::format("{:.0f}, {:.0f}", number(model, "experts"), number(model, "experts_per_token"))});
  }
  row(table, "vocabulary", model, "vocab_size");
  row(table, "context, tokens", model, "context");
  row(table, "optimizer steps", model, "steps");
  row(table, "tokens trained on", model, "tokens");
  if (number(model, "epochs") > 0)
    table.rows.push_back({"passes over the data", number_text(number(model, "epochs"), 3)});
  if (number(model, "mfu") > 0) {
    table.rows.push_back({"share of peak FLOP/s (MFU)", fmt::format("{:.1f} %", number(model, "mfu") * 100)});
  }
  return "<div><h3>Model</h3>" + to_html(table) + "</div>";
}

std::string data_table(const Json& data, const Json& tokenizer, bool near_duplicates) {
  HtmlTable table;
  row(table, "files", data, "files");
  row(table, "documents read", data, "documents_read");
  const auto dropped = [&](const char* name, const char* key) {
    if (number(data, key) > 0) row(table, name, data, key);
  };
  dropped("dropped: blank", "blank");
  row(table, "dropped: exact duplicates", data, "exact_duplicates");
  if (near_duplicates) row(table, "dropped: near duplicates", data, "near_duplicates");
  dropped("dropped: also in validation", "in_validation");
  dropped("repaired UTF-8", "repaired");
  row(table, "documents for training", data, "train_documents");
  row(table, "tokens for training", data, "train_tokens");
  row(table, "documents for validation", data, "valid_documents");
  row(table, "tokens for validation", data, "valid_tokens");
  if (number(data, "train_tokens") > 0) {
    table.rows.push_back(
        {"bytes per token", number_text(number(data, "train_bytes") / number(data, "train_tokens"), 3)});
  }
  if (tokenizer.contains("trained") && tokenizer["trained"].is_boolean()) {
    table.rows.push_back(
        {"tokenizer", tokenizer["trained"].get<bool>() ? "trained on this text" : "as given"});
  }
  return "<div><h3>Data</h3>" + to_html(table) + "</div>";
}

std::string scores(const Json& kinds) {
  std::string out = "<div class=\"score\">";
  for (const Json& kind : kinds) {
    const double total = number(kind, "total"), correct = number(kind, "correct");
    const double share = total > 0 ? correct / total * 100 : 0;
    out += fmt::format(
        R"(<span>{}</span><div class="meter"><i style="width:{:.1f}%"></i></div><span>{:.0f} of {:.0f}</span>)",
        escape(text(kind, "kind")), share, correct, total);
  }
  return out + "</div>\n";
}

std::string answers(const Json& examples) {
  HtmlTable table{.head = {"question", "answer", "expected", ""}, .figures = false};
  for (const Json& e : examples) {
    const bool right = e.contains("correct") && e["correct"].is_boolean() && e["correct"].get<bool>();
    table.rows.push_back(
        {text(e, "question"), text(e, "answer"), text(e, "expected"), right ? "right" : "wrong"});
  }
  return "<details><summary>Some of the questions</summary><div class=\"wide\">" + to_html(table) +
         "</div></details>\n";
}

// How the time was divided among stages.
std::string share_bar(const std::vector<StageRecord>& stages) {
  double all = 0;
  for (const StageRecord& stage : stages) all += stage.bill.seconds;
  if (all <= 0) return "";
  std::string bar = "<div class=\"bar\">", legend = "<p class=\"note\">Time:";
  int colour = 0;
  for (const StageRecord& stage : stages) {
    const double share = stage.bill.seconds / all * 100;
    if (share < 0.5) continue;
    bar += fmt::format(R"(<i class="k{}" style="width:{:.2f}%"></i>)", colour, share);
    legend += fmt::format(R"( <i class="key k{}"></i>{} {:.0f} %)", colour, escape(stage.name), share);
    colour = (colour + 1) % 6;
  }
  return bar + "</div>" + legend + "</p>";
}

std::vector<std::string> bill_row(const std::string& name, const Bill& bill) {
  return {name,
          format_duration(bill.seconds),
          format_duration(bill.cpu_seconds),
          bill.flops > 0 ? format_quantity(bill.flops, "FLOP") : "",
          bill.bytes > 0 ? format_quantity(bill.bytes, "B") : "",
          bill.tokens > 0 ? count_text(static_cast<double>(bill.tokens)) : "",
          format_quantity(static_cast<double>(bill.peak_memory_bytes), "B"),
          energy_text(bill.joules),
          money_text(bill.dollars),
          co2_text(bill.co2_g)};
}

}  // namespace

std::string model_and_data(const ReportRun& run) {
  const Json table = run.recipe.value("data", Json::object());
  const bool near_duplicates = table.contains("near_duplicates") && table["near_duplicates"] == true;
  return "<h2>Model and data</h2><div class=\"columns\">" + model_table(run.result("pretrain")) +
         data_table(run.result("data"), run.result("tokenizer"), near_duplicates) + "</div>\n";
}

std::string evaluation(const ReportRun& run) {
  const Json& result = run.result("evaluate");
  if (result.empty()) return "";
  HtmlTable table;
  table.rows.push_back({"bits per byte", number_text(number(result, "val_bits_per_byte"), 4)});
  table.rows.push_back({"nats per token", number_text(number(result, "val_loss"), 4)});
  table.rows.push_back({"perplexity per token", number_text(number(result, "perplexity"), 4)});
  row(table, "tokens", result, "val_tokens");
  row(table, "bytes", result, "val_bytes");
  std::string out =
      "<h2>Evaluation</h2><div class=\"columns\"><div><h3>Validation text</h3>" + to_html(table) + "</div>";
  const auto questions = result.find("questions");
  if (questions != result.end() && questions->is_object() && number(*questions, "total") > 0) {
    out += "<div><h3>Questions the model never saw, answered greedily</h3>" + scores((*questions)["kinds"]);
    if (questions->contains("examples")) out += answers((*questions)["examples"]);
    out += "</div>";
  }
  const Json& exam = run.result("exam");
  if (const auto again = exam.find("questions"); again != exam.end() && number(*again, "total") > 0) {
    out += "<div><h3>The same questions after tuning</h3>" + scores((*again)["kinds"]);
    if (again->contains("examples")) out += answers((*again)["examples"]);
    out += "</div>";
  }
  return out + "</div>\n";
}

std::string samples(const ReportRun& run) {
  const Json& result = run.result("samples");
  if (!result.contains("samples") || result["samples"].empty()) return "";
  std::string out = "<h2>Samples</h2><div class=\"charts\">";
  for (const Json& sample : result["samples"]) {
    out += "<blockquote><b>" + escape(text(sample, "prompt")) + "</b>" + escape(text(sample, "text")) +
           "</blockquote>";
  }
  return out + fmt::format("</div><p class=\"note\">The bold part was given. Temperature {:g}.</p>\n",
                           number(result, "temperature"));
}

std::string bill(const std::vector<StageRecord>& stages) {
  HtmlTable table{.head = {"stage", "time", "processor", "compute", "memory moved", "tokens", "peak memory",
                           "energy", "cost", "CO2e"},
                  .total_row = true};
  Bill total;
  for (const StageRecord& stage : stages) {
    total.add(stage.bill);
    table.rows.push_back(bill_row(stage.name, stage.bill));
  }
  table.rows.push_back(bill_row("total", total));
  std::string note =
      total.joules.measured
          ? "Energy was read from the processor's counters: "
          : "Energy could not be read on this machine; the interval comes from a model of the processor: ";
  note += total.energy_source + ". Cost and CO2 are for the middle of the interval.";
  if (const auto share = cache_share(stages)) {
    const Bill with = charged(total, *share);
    note += fmt::format(
        " With the teacher's cache split among all runs that had learned from it when this one ended: {}, "
        "{}, {} "
        "CO2e.",
        energy_text(with.joules), money_text(with.dollars), co2_text(with.co2_g));
  }
  return "<h2>The bill</h2>" + share_bar(stages) + "<div class=\"wide\">" + to_html(table) +
         "</div><p class=\"note\">" + escape(note) + "</p>\n";
}

std::string recipe(const Json& recipe) {
  return "<h2>Recipe</h2><details><summary>Every key as it was resolved</summary><pre>" +
         escape(to_toml(recipe)) + "</pre></details>\n";
}

}  // namespace frugal::report
