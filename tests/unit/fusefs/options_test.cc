// SPDX-License-Identifier: Apache-2.0
//
// The command line: the forms in which people, fstab and mount(8) write it, and one clear line for
// what is wrong.
#include "fusefs/options.h"

#include <gtest/gtest.h>

#include "blocklayer/base/version/version.h"
#include "ctl/verbs/mount_options.h"

namespace chainfs::fusefs {
namespace {

using Words = std::vector<std::string>;

Result<Options> Parse(const Words& arguments) { return ParseOptions(arguments, "/work"); }

// The message of a command line that must be refused.
std::string Refusal(const Words& arguments) {
  const auto options = Parse(arguments);
  if (options) return "was accepted";
  EXPECT_EQ(options.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(options.error().message.find('\n'), std::string::npos) << options.error().message;
  return options.error().message;
}

TEST(Options, SourcesAndMountpointBecomeAbsolute) {
  const auto options = Parse({"img", "/img/./b.qcow2", "mnt/"});
  ASSERT_TRUE(options) << options.error().message;
  ASSERT_EQ(options->sources.size(), 2u);
  EXPECT_EQ(options->sources[0].path, "/work/img");
  EXPECT_EQ(options->sources[1].path, "/img/b.qcow2");
  EXPECT_EQ(options->mountpoint, "/work/mnt");
  EXPECT_FALSE(options->foreground);
  EXPECT_FALSE(options->catalog.read_only);
  EXPECT_EQ(options->catalog.max_depth, 1024u);
}

TEST(Options, MountHelperFormIsUnderstood) {
  const auto options =
      Parse({"/img", "/mnt", "-o", "rw,nofail,_netdev,x-systemd.automount,dev,suid,noauto,user"});
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->mountpoint, "/mnt");
}

TEST(Options, WordsOfFstabTakeNoValueAndSomeKeysDo) {
  EXPECT_TRUE(Parse({"/img", "/mnt", "-o", "user=alice,comment=systemd.automount,uhelper=x"}));
  EXPECT_EQ(Refusal({"/img", "/mnt", "-o", "nofail=1"}), "option nofail takes no value");
  EXPECT_EQ(Refusal({"/img", "/mnt", "-o", "noatime=1"}), "option noatime takes no value");
  EXPECT_EQ(Refusal({"/img", "/mnt", "-o", "context"}), "option context needs a value");
  EXPECT_EQ(Parse({"/img", "/mnt", "-o", "context=a:b"})->mount_words, Words{"context=a:b"});
}

TEST(Options, ARemountSaysWhatToDo) {
  const std::string refusal = Refusal({"/img", "/mnt", "-o", "rw,remount,nofail"});
  EXPECT_NE(refusal.find("remounting is not supported"), std::string::npos) << refusal;
  EXPECT_NE(refusal.find("unmount"), std::string::npos) << refusal;
}

TEST(Options, OptionListsMayBeGluedRepeatedAndAnywhere) {
  const auto options = Parse({"-oro", "/img", "-o", "allow_other", "/mnt", "-f"});
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_TRUE(options->catalog.read_only);
  EXPECT_TRUE(options->allow_other);
  EXPECT_TRUE(options->foreground);
}

TEST(Options, TheLastOfRoAndRwHolds) {
  EXPECT_FALSE(Parse({"/img", "/mnt", "-o", "ro,rw"})->catalog.read_only);
  EXPECT_TRUE(Parse({"/img", "/mnt", "-o", "rw,ro"})->catalog.read_only);
}

TEST(Options, OurOwnOptions) {
  const auto options = Parse(
      {"/img", "/mnt", "-o",
       "backing_dir=bases,backing_dir=/b\\,2,assume_backing_format=raw,index_memory=8M,"
       "metadata_memory=1G,writeback_cache,direct_io,threads=3,control_gid=7,list_xattrs,"
       "max_depth=12,uid=5,gid=6,umask=007,qmp=run/q.sock,noexec,data_dirs=d:/e,data_dirs=/f"});
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->catalog.backing_dirs, (Words{"/work/bases", "/b,2"}));
  EXPECT_EQ(options->catalog.data_dirs, (Words{"/work/d", "/e", "/f"}));
  EXPECT_EQ(options->catalog.assume_backing_format, ImageFormat::kRaw);
  EXPECT_EQ(options->catalog.memory.index_bytes, 8u << 20);
  EXPECT_EQ(options->catalog.memory.metadata_bytes, 1u << 30);
  EXPECT_TRUE(options->writeback_cache);
  EXPECT_TRUE(options->direct_io);
  EXPECT_TRUE(options->list_xattrs);
  EXPECT_EQ(options->threads, 3u);
  EXPECT_EQ(options->control_gid, 7u);
  EXPECT_EQ(options->catalog.max_depth, 12u);
  EXPECT_EQ(options->uid, 5u);
  EXPECT_EQ(options->gid, 6u);
  EXPECT_EQ(options->umask, 007u);
  EXPECT_EQ(options->qmp, "/work/run/q.sock");
  EXPECT_EQ(options->mount_words, Words{"noexec"});
}

TEST(Options, UserNamesAreResolved) {
  const auto options = Parse({"/img", "/mnt", "-o", "uid=root,gid=root"});
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->uid, 0u);
}

TEST(Options, AnUnknownOptionIsNamed) {
  EXPECT_NE(Refusal({"/img", "/mnt", "-o", "ro,alow_other"}).find("alow_other"), std::string::npos);
  EXPECT_NE(Refusal({"/img", "/mnt", "--frobnicate"}).find("--frobnicate"), std::string::npos);
  EXPECT_NE(Refusal({"/img", "/mnt", "-o", "nosuch=1"}).find("nosuch"), std::string::npos);
}

TEST(Options, BadValuesAreNamed) {
  for (const char* word : {"uid=nobody-here-of-that-name", "umask=9", "umask=", "threads=0",
                           "threads=x", "max_depth=0", "index_memory=1",
                           "assume_backing_format=qed", "ro=1", "backing_dir", "control_gid=-1"}) {
    const std::string key = std::string(word).substr(0, std::string(word).find('='));
    EXPECT_NE(Refusal({"/img", "/mnt", "-o", word}).find(key), std::string::npos) << word;
  }
}

TEST(Options, WithoutAMountpointTheUsageIsShown) {
  EXPECT_NE(Refusal({"/img"}).find("MOUNTPOINT"), std::string::npos);
  EXPECT_NE(Refusal({}).find("MOUNTPOINT"), std::string::npos);
}

// A row of the table without a setter would be refused as unknown.
TEST(Options, EveryOptionOfTheTableIsTaken) {
  for (const verbs::MountOption& option : verbs::MountOptions()) {
    const std::string name(option.name);
    std::string value;
    for (const char* candidate : {"", "=64M", "=7", "=raw", "=root", "=/dir", "=on"}) {
      value = candidate;
      if (Parse({"/img", "/mnt", "-o", name + value})) break;
    }
    EXPECT_TRUE(Parse({"/img", "/mnt", "-o", name + value})) << name;
    EXPECT_EQ(value.empty(), option.value != verbs::OptionValue::kRequired) << name;
    const bool passed_on = !Parse({"/img", "/mnt", "-o", name + value})->mount_words.empty();
    EXPECT_EQ(passed_on, option.meant_for == verbs::OptionFor::kKernel) << name;
  }
}

TEST(Options, HelpAndVersionNeedNothingElse) {
  EXPECT_NE(Parse({"--help"})->print_and_exit.find("SOURCE"), std::string::npos);
  EXPECT_NE(Parse({"-h"})->print_and_exit.find("control_gid"), std::string::npos);
  EXPECT_EQ(Parse({"-V"})->print_and_exit, std::string("chainfs ") + Version() + "\n");
}

TEST(Options, DebugStaysInTheForegroundAndSingleMeansOneThread) {
  const auto options = Parse({"-d", "-s", "/img", "/mnt"});
  ASSERT_TRUE(options);
  EXPECT_TRUE(options->foreground);
  EXPECT_EQ(options->threads, 1u);
}

}  // namespace
}  // namespace chainfs::fusefs
