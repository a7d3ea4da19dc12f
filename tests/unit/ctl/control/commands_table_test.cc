// SPDX-License-Identifier: Apache-2.0
//
// A row of the tables without a function of the daemon would be refused as unknown.
#include <gtest/gtest.h>

#include "ctl/control/commands.h"
#include "ctl/control/status_attributes.h"
#include "ctl/verbs/status_table.h"
#include "ctl/verbs/verb_table.h"

namespace chainfs::control {
namespace {

TEST(CommandsTableTest, EveryVerbOfTheTableIsCarriedOut) {
  for (const verbs::Verb& verb : verbs::Verbs()) {
    EXPECT_TRUE(Commands::CarriesOut(verb.name)) << verb.name;
  }
  EXPECT_FALSE(Commands::CarriesOut("frobnicate"));
}

TEST(CommandsTableTest, EveryStatusAttributeOfTheTableHasAValue) {
  for (const verbs::StatusAttribute& attribute : verbs::StatusAttributes()) {
    EXPECT_TRUE(StatusAttributes::IsName(attribute.name)) << attribute.name;
  }
}

}  // namespace
}  // namespace chainfs::control
