// SPDX-License-Identifier: Apache-2.0
#include "fusefs/ready_probe.h"

#include "tests/support/deaf_server.h"

namespace chainfs::fusefs {
namespace {

// Else its mount, and whoever uses that, hangs until somebody aborts the connection.
TEST(ReadyProbe, DoesNotKeepAKilledDaemonFromEnding) {
  const DeafServer server(
      [](const std::string& mountpoint) { const ReadyProbe probe(mountpoint, [] {}); });
  if (!server.serving()) GTEST_SKIP() << "needs /dev/fuse and root";
  server.Kill();
  EXPECT_TRUE(server.EndsWithin(20));
}

TEST(ReadyProbe, IsNotReadyWhereNobodyIs) {
  bool ready = false;
  {
    const ReadyProbe probe("/nowhere/at/all", [&] { ready = true; });
  }
  EXPECT_FALSE(ready);
  {
    const ReadyProbe probe("/", [&] { ready = true; });
  }
  EXPECT_TRUE(ready);
}

}  // namespace
}  // namespace chainfs::fusefs
