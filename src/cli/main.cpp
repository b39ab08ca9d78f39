// The program: reads the arguments and the environment, and hands both over.
#include <unistd.h>

#include <cstdlib>

#include "cli/cli.h"

int main(int argc, char** argv) {
  const auto variable = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  frugal::cli::Environment environment;
  environment.kernels = variable("FRUGAL_KERNELS");
  environment.ledger = variable("FRUGAL_LEDGER");
  environment.models = variable("FRUGAL_MODELS");
  environment.hf_endpoint = variable("HF_ENDPOINT");
  environment.hf_token = variable("HF_TOKEN");
  environment.ca_file = variable("SSL_CERT_FILE");
  environment.home = variable("HOME");
  environment.data_home = variable("XDG_DATA_HOME");
  environment.config_home = variable("XDG_CONFIG_HOME");
  environment.cache_home = variable("XDG_CACHE_HOME");
  environment.error_is_terminal = isatty(STDERR_FILENO) != 0;
  environment.output_is_terminal = isatty(STDOUT_FILENO) != 0;
  environment.input_is_terminal = isatty(STDIN_FILENO) != 0;
  return frugal::cli::run({argv + 1, argv + argc}, environment);
}
