// SPDX-License-Identifier: Apache-2.0
//
// A row of the table of verbs without a function of the daemon would be refused as unknown.
#include <gtest/gtest.h>

#include "ctl/control/commands.h"
#include "ctl/verbs/verb_table.h"

namespace chainfs::control {
namespace {

TEST(CommandsTableTest, EveryVerbOfTheTableIsCarriedOut) {
  for (const verbs::Verb& verb : verbs::Verbs()) {
    EXPECT_TRUE(Commands::CarriesOut(verb.name)) << verb.name;
  }
  EXPECT_FALSE(Commands::CarriesOut("frobnicate"));
}

}  // namespace
}  // namespace chainfs::control
