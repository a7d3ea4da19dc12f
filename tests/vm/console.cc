// SPDX-License-Identifier: Apache-2.0
#include "tests/vm/console.h"

#include <sys/reboot.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace chainfs::guest {
namespace {

// In one write, so that lines of two threads do not mix.
void Print(const std::string& line) {
  const std::string text = line + "\n";
  (void)!::write(STDOUT_FILENO, text.data(), text.size());
}

}  // namespace

void Reply(const std::string& text) { Print("VM-REPLY " + text); }

void Fail(const std::string& what) {
  const int error = errno;
  Print("VM-FAILED " + what + (error != 0 ? std::string(": ") + std::strerror(error) : ""));
  PowerOff();
}

void PowerOff() {
  ::sync();
  ::reboot(RB_POWER_OFF);
  // Without the right to do so; the kernel panics when its first program ends.
  std::_Exit(1);
}

}  // namespace chainfs::guest
