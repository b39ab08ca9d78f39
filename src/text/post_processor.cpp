#include "text/post_processor.h"

#include "text/json_fields.h"

namespace frugal {

PostProcessor::PostProcessor(const Json& json, int32_t vocab_size, const std::string& where) {
  if (!json.is_null()) add(json, vocab_size, where);
}

void PostProcessor::add(const Json& json, int32_t vocab_size, const std::string& where) {
  const JsonFields fields(json, where);
  const std::string type = fields.text("type");
  if (type == "Sequence") {
    fields.only({"type", "processors"});
    const Json& list = fields.list("processors");
    for (size_t i = 0; i < list.size(); ++i)
      add(list[i], vocab_size, fmt::format("{}.processors[{}]", where, i));
  } else if (type == "ByteLevel") {
    fields.only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  } else if (type == "TemplateProcessing") {
    add_template(json, vocab_size, where);
  } else {
    fail("{}: post-processor '{}' is not supported (ByteLevel, TemplateProcessing and Sequence are)", where,
         type);
  }
}

void PostProcessor::add_template(const Json& json, int32_t vocab_size, const std::string& where) {
  const JsonFields fields(json, where);
  fields.only({"type", "single", "pair", "special_tokens"});
  const JsonFields specials(fields.object("special_tokens"), where + ".special_tokens");
  std::vector<int32_t> first, last;
  bool seen_text = false;
  for (const Json& item : fields.list("single")) {
    const JsonFields piece(item, where + ".single");
    piece.only({"SpecialToken", "Sequence"});
    if (piece.has("Sequence")) {
      const JsonFields sequence(piece.object("Sequence"), where + ".single.Sequence");
      if (seen_text || sequence.text("id") != "A") fail("{}: 'single' must hold sequence A once", where);
      seen_text = true;
      continue;
    }
    const std::string name =
        JsonFields(piece.object("SpecialToken"), where + ".single.SpecialToken").text("id");
    const JsonFields special(specials.object(name), fmt::format("{}.special_tokens[{:?}]", where, name));
    special.only({"id", "ids", "tokens"});
    for (const Json& id : special.list("ids")) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(vocab_size)) {
        fail("{}: id {} is not in the vocabulary", special.where(), to_text(id));
      }
      (seen_text ? last : first).push_back(id.get<int32_t>());
    }
  }
  if (!seen_text) fail("{}: 'single' must hold sequence A once", where);
  before.insert(before.begin(), first.begin(), first.end());
  after.insert(after.end(), last.begin(), last.end());
}

}  // namespace frugal
