// SPDX-License-Identifier: Apache-2.0
//
// The rows of jobs/job_types.cc, and that a kind of job is nothing more than its folder, its row,
// and the row of its verb.
#include "jobs/job_types.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "ctl/verbs/verb_table.h"
#include "jobs/engine/job_options.h"
#include "tests/support/source_tree.h"

namespace chainfs::jobs {
namespace {

// Folders of jobs/ that have a type; the others are floors below them.
std::set<std::string> KindFolders() {
  std::set<std::string> folders;
  for (const SourceFile& source : SourceFiles()) {
    const std::string folder(source.folder());
    if (!source.In("jobs/") || folder == "jobs" || folder == "jobs/engine") continue;
    if (source.path.ends_with("/" + folder.substr(5) + "_type.cc")) folders.insert(folder);
  }
  return folders;
}

TEST(JobTypes, EveryFolderHasARowAndEveryRowAFolder) {
  std::set<std::string> rows;
  for (const JobType& type : JobTypes()) rows.insert("jobs/" + std::string(type.name));
  EXPECT_EQ(rows, KindFolders());
  EXPECT_EQ(rows.size(), JobTypes().size());
}

TEST(JobTypes, NothingButTheListOfRowsKnowsAKind) {
  for (const SourceFile& source : SourceFiles()) {
    if (source.In("tests/")) continue;
    for (const std::string& folder : KindFolders()) {
      if (source.In(folder + "/") || source.path == "jobs/job_types.cc") continue;
      for (size_t i = 0; i < source.lines.size(); ++i) {
        if (source.lines[i].find("#include \"" + folder + "/") != std::string::npos) {
          ReportLine(source, i + 1, "only jobs/job_types.cc includes a kind of job");
        }
      }
    }
  }
}

TEST(JobTypes, EachIsAVerbThatEstimatesAndTakesWhatEveryJobTakes) {
  for (const JobType& type : JobTypes()) {
    const verbs::Verb* const verb = verbs::FindVerb(verbs::Verbs(), type.name);
    ASSERT_NE(verb, nullptr) << type.name;
    EXPECT_EQ(verb->dry_run, verbs::DryRun::kEstimates);
    EXPECT_FALSE(verb->on_job);
    for (const std::string_view key :
         {"id", "speed", "on-error", "priority", "generation", "dry-run"}) {
      EXPECT_NE(verbs::FindKey(type.keys, key), nullptr) << type.name << " " << key;
    }
  }
}

TEST(JobTypes, TheWordsOfOnErrorAreThoseOfTheTable) {
  const verbs::Key* const key = verbs::FindKey(JobTypes().front().keys, "on-error");
  ASSERT_NE(key, nullptr);
  for (const std::string_view word : key->words) {
    const auto options = ParseJobOptions(verbs::Arguments().Set("on-error", word));
    ASSERT_TRUE(options) << word;
    EXPECT_EQ(OnErrorName(options->on_error), word);
  }
  for (const OnError policy :
       {OnError::kReport, OnError::kIgnore, OnError::kStop, OnError::kEnospc}) {
    EXPECT_NE(std::ranges::find(key->words, OnErrorName(policy)), key->words.end());
  }
  EXPECT_FALSE(ParseJobOptions(verbs::Arguments().Set("on-error", "panic")));
}

}  // namespace
}  // namespace chainfs::jobs
