// One declaration per verb; the list that makes it known is in verbs.cpp. A verb's file declares its
// arguments and does its work.
#pragma once

#include "cli/cli.h"

namespace frugal::cli {

void declare_run(Command& command, const Environment& environment);
void declare_train(Command& command, const Environment& environment);
void declare_distill(Command& command, const Environment& environment);
void declare_distill_ask(Command& distill, const Environment& environment);  // a verb below it
void declare_tune(Command& command, const Environment& environment);
void declare_generate(Command& command, const Environment& environment);
void declare_chat(Command& command, const Environment& environment);
void declare_logits(Command& command, const Environment& environment);
void declare_convert(Command& command, const Environment& environment);
void declare_quantize(Command& command, const Environment& environment);
void declare_prune(Command& command, const Environment& environment);
void declare_perplexity(Command& command, const Environment& environment);
void declare_pull(Command& command, const Environment& environment);
void declare_info(Command& command, const Environment& environment);
void declare_tokenizer(Command& command, const Environment& environment);
void declare_ledger(Command& command, const Environment& environment);
void declare_bench(Command& command, const Environment& environment);
void declare_bench_tokenizer(Command& bench, const Environment& environment);  // a verb below it

}  // namespace frugal::cli
