#include "text/regex_program.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "core/error.h"
#include "text/regex.h"
#include "text/regex_syntax.h"

namespace frugal {
namespace {

constexpr size_t kMaxOps = 10'000, kMaxSets = 256;

class Compiler {
 public:
  explicit Compiler(std::string_view pattern) : pattern_(pattern) {}

  RegexProgram run() {
    const RegexNode root = parse_regex(pattern_);
    emit(root);
    put({.kind = Kind::accept});
    out_.own = size();
    // Groups may hold groups: the list grows while it is worked off.
    for (size_t i = 0; i < groups_.size(); ++i) {
      const Group group = groups_[i];
      (group.is_look ? out_.looks[group.index].entry : out_.ops[group.index].a) = size();
      in_group_ = true;
      emit(*group.node);
      put({.kind = Kind::accept});
    }
    give_slots();
    find_first_bytes();
    return std::move(out_);
  }

 private:
  using Kind = RegexOp::Kind;
  using Node = RegexNode;
  struct Group {
    const Node* node;
    bool is_look;  // of looks[index], else of ops[index]
    size_t index;
  };

  [[noreturn]] void refuse(std::string_view what) const {
    fail("pattern {:?}: {} is not supported", pattern_, what);
  }
  uint32_t size() const { return static_cast<uint32_t>(out_.ops.size()); }
  uint32_t put(const RegexOp& op) {
    if (out_.ops.size() >= kMaxOps) refuse(fmt::format("a pattern of more than {} parts", kMaxOps));
    out_.ops.push_back(op);
    return size() - 1;
  }
  uint32_t set_index(const std::string& set) {
    const auto [found, is_new] = set_ids_.try_emplace(set, static_cast<uint32_t>(out_.sets.size()));
    if (is_new && out_.sets.size() >= kMaxSets)
      refuse(fmt::format("more than {} kinds of characters", kMaxSets));
    if (is_new) out_.sets.emplace_back(set);
    return found->second;
  }

  void emit(const Node& node) {
    switch (node.kind) {
      case Node::Kind::sequence:
        for (const Node& part : node.parts) emit(part);
        return;
      case Node::Kind::alternatives:
        return emit_alternatives(node);
      case Node::Kind::set:
        put({.kind = Kind::set, .a = set_index(node.set)});
        return;
      case Node::Kind::repeat:
        return emit_repeat(node);
      case Node::Kind::atomic:
        return emit_atomic(node.parts[0]);
      case Node::Kind::look:
        return emit_look(node);
      case Node::Kind::place:
        if (node.place == 'b' || node.place == 'B') out_.word = set_index(translate_pattern("\\w"));
        put({.kind = Kind::place, .place = node.place});
    }
  }

  void emit_alternatives(const Node& node) {
    std::vector<uint32_t> ends;
    for (size_t i = 0; i + 1 < node.parts.size(); ++i) {
      const uint32_t split = put({.kind = Kind::split});
      out_.ops[split].a = size();
      emit(node.parts[i]);
      ends.push_back(put({.kind = Kind::jump}));
      out_.ops[split].b = size();
    }
    emit(node.parts.back());
    for (const uint32_t end : ends) out_.ops[end].a = size();
  }

  void emit_repeat(const Node& node) {
    const Node& part = node.parts[0];
    for (uint32_t i = 0; i < node.least; ++i) emit(part);
    if (node.most == Node::kUnbounded) return emit_loop(node, part);
    std::vector<uint32_t> splits;
    for (uint32_t i = node.least; i < node.most; ++i) {
      splits.push_back(put({.kind = Kind::split}));
      emit(part);
    }
    for (const uint32_t split : splits) branch(split, split + 1, size(), node.lazy);
  }
  void emit_loop(const Node& node, const Node& part) {
    if (part.kind == Node::Kind::set && !node.lazy) {
      put({.kind = Kind::star, .a = set_index(part.set)});
      return;
    }
    // Memory of what a state led to must not depend on the way there, which it does in a loop without
    // progress.
    if (in_group_ && may_be_empty(part)) refuse("in a group of its own, a repeat of what may be empty");
    const uint32_t split = put({.kind = Kind::split});
    emit(part);
    put({.kind = Kind::jump, .a = split});
    branch(split, split + 1, size(), node.lazy);
  }
  void branch(uint32_t split, uint32_t in, uint32_t out, bool lazy) {
    out_.ops[split].a = lazy ? out : in;
    out_.ops[split].b = lazy ? in : out;
  }

  void emit_atomic(const Node& part) {
    const bool simple =
        part.kind == Node::Kind::repeat && part.parts[0].kind == Node::Kind::set && !part.lazy;
    if (!simple) {
      groups_.push_back({&part, false, put({.kind = Kind::atomic})});
      return;
    }
    const uint32_t set = set_index(part.parts[0].set);
    for (uint32_t i = 0; i < part.least; ++i) put({.kind = Kind::set, .a = set});
    if (part.most == Node::kUnbounded)
      put({.kind = Kind::whole_star, .a = set});
    else
      for (uint32_t i = part.least; i < part.most; ++i) put({.kind = Kind::maybe, .a = set});
  }

  void emit_look(const Node& node) {
    const Node& part = node.parts[0];
    const auto first = static_cast<uint32_t>(out_.looks.size());
    const auto add = [&](const Node& inside, uint32_t back) {
      groups_.push_back({&inside, true, out_.looks.size()});
      out_.looks.push_back({0, back});
    };
    if (node.ahead) {
      add(part, 0);
    } else if (part.kind == Node::Kind::alternatives) {
      for (const Node& way : part.parts) add(way, length(way));
    } else {
      add(part, length(part));
    }
    put({.kind = Kind::look,
         .negated = node.negated,
         .a = first,
         .b = static_cast<uint32_t>(out_.looks.size())});
  }

  // In characters. Refused where it is not fixed.
  uint32_t length(const Node& node) const {
    constexpr uint32_t kMost = 255;
    uint32_t sum = 0;
    switch (node.kind) {
      case Node::Kind::set:
        return 1;
      case Node::Kind::look:
      case Node::Kind::place:
        return 0;
      case Node::Kind::alternatives:
        sum = length(node.parts[0]);
        for (const Node& part : node.parts) {
          if (length(part) != sum) refuse("a look behind of several lengths");
        }
        return sum;
      case Node::Kind::repeat:
        if (node.least != node.most) refuse("a look behind of several lengths");
        sum = node.least * length(node.parts[0]);
        break;
      default:
        for (const Node& part : node.parts) sum += length(part);
    }
    if (sum > kMost) refuse(fmt::format("a look behind by more than {}", kMost));
    return sum;
  }
  static bool may_be_empty(const Node& node) {
    switch (node.kind) {
      case Node::Kind::set:
        return false;
      case Node::Kind::look:
      case Node::Kind::place:
        return true;
      case Node::Kind::alternatives:
        return std::ranges::any_of(node.parts, may_be_empty);
      case Node::Kind::repeat:
        return node.least == 0 || may_be_empty(node.parts[0]);
      default:
        return std::ranges::all_of(node.parts, may_be_empty);
    }
  }

  // Where one can get to from an operation without leaving its group.
  template <class F>
  void each_next(uint32_t at, F visit) const {
    const RegexOp& op = out_.ops[at];
    if (op.kind == Kind::accept) return;
    if (op.kind == Kind::split) visit(op.b);
    visit(op.kind == Kind::split || op.kind == Kind::jump ? op.a : at + 1);
  }

  // A search from a place comes to some operations by one way only, and so once: they need no memory. Nor do
  // stars after which nothing can fail.
  void give_slots() {
    std::vector<uint32_t> ways(size());
    for (uint32_t i = 0; i < size(); ++i) each_next(i, [&](uint32_t next) { ++ways[next]; });
    std::vector<bool> once(size());
    std::vector<uint32_t> queue;
    if (ways[0] == 0) queue.push_back(0);
    while (!queue.empty()) {
      const uint32_t at = queue.back();
      queue.pop_back();
      once[at] = true;
      if (out_.ops[at].kind == Kind::star) continue;
      each_next(at, [&](uint32_t next) {
        if (ways[next] == 1) queue.push_back(next);
      });
    }
    for (uint32_t i = 0; i < size(); ++i) {
      RegexOp& op = out_.ops[i];
      const bool own = i < out_.own;
      if (op.kind == Kind::split && !(own && once[i])) op.slot = take_slot(own);
      if (op.kind == Kind::star && !(own && cannot_fail(i + 1))) op.slot = take_slot(own);
      if (op.kind == Kind::whole_star && !(own && cannot_fail(i + 1))) op.slot = take_slot(false);
    }
  }
  int32_t take_slot(bool own) { return static_cast<int32_t>((own ? out_.own_slots : out_.group_slots)++); }
  bool cannot_fail(uint32_t at) const {
    while (true) {
      const RegexOp& op = out_.ops[at];
      if (op.kind == Kind::accept) return true;
      if (op.kind == Kind::jump && op.a > at) {
        at = op.a;
      } else if (op.kind == Kind::star || op.kind == Kind::whole_star || op.kind == Kind::maybe) {
        ++at;
      } else {
        return false;
      }
    }
  }

  void find_first_bytes() {
    out_.first.resize(size());
    for (bool changed = true; changed;) {
      changed = false;
      for (uint32_t i = size(); i-- > 0;) {
        const FirstBytes found = first_of(i);
        changed = changed || found.bytes != out_.first[i].bytes || found.end != out_.first[i].end;
        out_.first[i] = found;
      }
    }
  }
  FirstBytes first_of(uint32_t at) const {
    const RegexOp& op = out_.ops[at];
    FirstBytes out;
    const auto add = [&](const FirstBytes& more) {
      for (size_t i = 0; i < 4; ++i) out.bytes[i] |= more.bytes[i];
      out.end = out.end || more.end;
    };
    switch (op.kind) {
      case Kind::set:
      case Kind::maybe:
      case Kind::star:
      case Kind::whole_star:
        out.bytes = out_.sets[op.a].first_bytes();
        if (op.kind != Kind::set) add(out_.first[at + 1]);
        return out;
      case Kind::split:
      case Kind::jump:
        each_next(at, [&](uint32_t next) { add(out_.first[next]); });
        return out;
      default:  // anything
        out.bytes.fill(~uint64_t{0});
        out.end = true;
        return out;
    }
  }

  std::string_view pattern_;
  RegexProgram out_;
  std::map<std::string, uint32_t> set_ids_;
  std::vector<Group> groups_;
  bool in_group_ = false;
};

}  // namespace

RegexProgram compile_regex(std::string_view translated) {
  return Compiler(translated).run();
}

}  // namespace frugal
