// From the text of a recipe to values: what recipes of all verbs share. Private to pipeline/.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/fields.h"
#include "pipeline/toml.h"

namespace frugal {

// Visits every field of a recipe.
using VisitRecipe = std::function<void(FieldVisitor&)>;

// Puts each "key=value" of --set into `values` and returns the keys. Text needs no quotes.
std::vector<std::string> apply_set(const std::vector<std::string>& set, const VisitRecipe& visit,
                                   Json& values);

// Where a key stands: "--set key", or "NAME:LINE".
Locate locate_in(const TomlDocument& document, const std::string& name,
                 const std::vector<std::string>& set_keys);

// Checks of values know keys, not lines; the message begins with the key (or "table.key" or "table: ...").
// Puts the place before it.
void check_located(const std::function<void()>& check, const Json& values, const Locate& where,
                   const std::string& name);

}  // namespace frugal
