// SPDX-License-Identifier: Apache-2.0
//
// The lists that are shown: only what is new is told, and who asks again and again is slowed down.
#include "blocklayer/catalog/shown_lists.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "blocklayer/catalog/event_queue.h"

namespace chainfs {
namespace {

class Lists final : public ShownLists {
 public:
  Lists() : ShownLists(false) {}
  using ShownLists::Held;
  using ShownLists::Publish;
  using ShownLists::TakeRequest;
  using All = ShownLists::Lists;
};

class Listener final : public CatalogObserver {
 public:
  void DiskAdded(const DiskPtr&) override {}
  void DiskRemoved(const DiskPtr&) override {}
  void ChainChanged(const DiskPtr&) override {}
  void DiskError(const Disk&, std::string_view, const Error&) override {}
  void ImageBroken(const BrokenImage& image) override { heard.push_back("broken " + image.name); }
  void Warned(const ImageNote& note) override { heard.push_back(note.text); }

  std::vector<std::string> heard;
};

BrokenImage Broken(const std::string& name, const std::string& why, bool tried_again = false) {
  BrokenImage image{.name = name, .path = "/" + name, .error = {}};
  image.error = Error{.kind = ErrorKind::kIo, .sys_errno = 0, .message = why};
  image.tried_again = tried_again;
  return image;
}

class ShownListsTest : public testing::Test {
 protected:
  ShownListsTest() { events_.SetObserver(&listener_); }

  std::vector<std::string> Publish(Lists::All all) {
    listener_.heard.clear();
    lists_.Publish(std::move(all), events_);
    events_.Deliver();
    return listener_.heard;
  }
  Lists::All With(std::vector<BrokenImage> broken) {
    Lists::All all;
    all.broken = std::move(broken);
    return all;
  }

  EventQueue events_;
  Listener listener_;
  Lists lists_;
};

using Heard = std::vector<std::string>;

TEST_F(ShownListsTest, ABrokenImageIsToldOnceForEachReason) {
  EXPECT_EQ(Publish(With({Broken("a", "x")})), Heard{"broken a"});
  EXPECT_EQ(Publish(With({Broken("a", "x")})), Heard{});
  EXPECT_EQ(Publish(With({Broken("a", "y")})), Heard{"broken a"});
  EXPECT_EQ(Publish(With({})), Heard{});
  EXPECT_EQ(Publish(With({Broken("a", "y")})), Heard{"broken a"});
}

TEST_F(ShownListsTest, OnlyNotesThatAreWarningsAreTold) {
  Lists::All all;
  all.notes = {{.name = "a", .text = "begins like qcow2"},
               {.name = "a", .text = "was moved", .warning = true}};
  EXPECT_EQ(Publish(all), Heard{"was moved"});
  EXPECT_EQ(Publish(all), Heard{});
  EXPECT_EQ(lists_.Notes().size(), 2u);
}

TEST_F(ShownListsTest, OnlyWhatIsTriedAgainCanBeAskedFor) {
  (void)Publish(With({Broken("a", "x"), Broken("b", "x", true)}));
  EXPECT_FALSE(lists_.AskFor("a"));
  EXPECT_TRUE(lists_.AskFor("b"));
  EXPECT_FALSE(lists_.AskFor("b")) << "so soon";
  EXPECT_TRUE(lists_.TakeRequest("b"));
  EXPECT_FALSE(lists_.TakeRequest("b"));
}

TEST_F(ShownListsTest, ARequestForWhatIsNotBrokenAnyMoreIsForgotten) {
  (void)Publish(With({Broken("b", "x", true)}));
  EXPECT_TRUE(lists_.AskFor("b"));
  (void)Publish(With({}));
  EXPECT_FALSE(lists_.TakeRequest("b"));
  EXPECT_EQ(lists_.Held(), 0u);
}

}  // namespace
}  // namespace chainfs
