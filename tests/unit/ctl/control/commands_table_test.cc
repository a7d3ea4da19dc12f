// SPDX-License-Identifier: Apache-2.0
//
// A row of the tables without a function of the daemon would be refused as unknown.
#include <gtest/gtest.h>

#include "ctl/control/commands.h"
#include "ctl/control/status_attributes.h"
#include "ctl/verbs/status_table.h"
#include "ctl/verbs/verb_table.h"
#include "jobs/engine/job_options.h"

namespace chainfs::control {
namespace {

TEST(CommandsTableTest, EveryVerbOfTheTableIsCarriedOut) {
  for (const verbs::Verb& verb : verbs::Verbs()) {
    EXPECT_TRUE(Commands::CarriesOut(verb.name)) << verb.name;
  }
  EXPECT_FALSE(Commands::CarriesOut("frobnicate"));
}

TEST(CommandsTableTest, EveryWordOfOnErrorMeansSomethingToJobs) {
  const verbs::Verb* const stream = verbs::FindVerb(verbs::Verbs(), "stream");
  for (const std::string_view word : verbs::FindKey(stream->keys, "on-error")->words) {
    verbs::Arguments arguments;
    arguments.Set("on-error", word);
    const Result<jobs::JobOptions> options = jobs::ParseJobOptions(arguments);
    ASSERT_TRUE(options) << word;
    EXPECT_EQ(jobs::OnErrorName(options->on_error), word);
  }
}

TEST(CommandsTableTest, EveryStatusAttributeOfTheTableHasAValue) {
  for (const verbs::StatusAttribute& attribute : verbs::StatusAttributes()) {
    EXPECT_TRUE(StatusAttributes::IsName(attribute.name)) << attribute.name;
  }
}

}  // namespace
}  // namespace chainfs::control
