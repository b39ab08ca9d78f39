// The user asked to stop (Ctrl-C); what was done is kept. The command line exits with 130.
#pragma once

#include "core/error.h"

namespace frugal {

class Interrupted : public Error {
 public:
  using Error::Error;
};

}  // namespace frugal
