#include "cli/verbs.h"

#include <array>

namespace frugal::cli {

std::span<const Verb> all_verbs() {
  static constexpr std::array list = {
      Verb{"run", "A whole recipe: data, tokenizer, training, evaluation, report", declare_run},
      Verb{"train", "The same until the model is trained", declare_train},
      Verb{"distill", "The same, learning from a teacher: its cache first, then the student",
           declare_distill},
      Verb{"tune", "Fine-tune a model on examples: as a whole, or an adapter beside it", declare_tune},
      Verb{"generate", "Continue a text", declare_generate},
      Verb{"chat", "Talk to a model in the terminal", declare_chat},
      Verb{"pull", "Fetch a model from a hub or a URL", declare_pull},
      Verb{"tokenizer", "Train a tokenizer; turn text into ids and back", declare_tokenizer},
      Verb{"logits", "Write the logits of given token ids to a .npy file", declare_logits},
      Verb{"perplexity", "Perplexity and bits per byte of a text", declare_perplexity},
      Verb{"info", "Parameters, memory and FLOPs of a model or preset", declare_info},
      Verb{"convert", "Hugging Face directory to GGUF file and back; change number formats", declare_convert},
      Verb{"quantize", "Fewer bits for the weights, and what that costs", declare_quantize},
      Verb{"prune", "A smaller model of the parts that matter most, to be healed by distillation",
           declare_prune},
      Verb{"bench", "Speed of a model, of training, and of this machine", declare_bench},
      Verb{"ledger", "What was spent: list, total, export", declare_ledger},
  };
  return list;
}

}  // namespace frugal::cli
