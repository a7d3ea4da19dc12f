// SPDX-License-Identifier: Apache-2.0
//
// Events reach the observer in order, one at a time, and before Deliver returns.
#include "blocklayer/catalog/event_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <new>
#include <string>
#include <thread>
#include <vector>

namespace chainfs {
namespace {

// Notes the warnings that it is told of.
class Listener final : public CatalogObserver {
 public:
  void DiskAdded(const DiskPtr&) override {}
  void DiskRemoved(const DiskPtr&) override {}
  void ChainChanged(const DiskPtr&) override {}
  void DiskError(const Disk&, std::string_view, const Error&) override {}
  void ImageBroken(const BrokenImage&) override {}
  void Warned(const ImageNote& note) override {
    heard.push_back(note.text);
    if (then) then(note.text);
  }

  std::vector<std::string> heard;
  std::function<void(const std::string&)> then;
};

EventQueue::Event Warning(const std::string& text) {
  return [text](CatalogObserver& observer) { observer.Warned({.name = {}, .text = text}); };
}

using Texts = std::vector<std::string>;

TEST(EventQueueTest, EventsWaitForDeliverAndKeepTheirOrder) {
  EventQueue events;
  Listener listener;
  events.SetObserver(&listener);
  events.Add(Warning("a"));
  events.Add(Warning("b"));
  EXPECT_TRUE(listener.heard.empty());
  events.Deliver();
  events.Deliver();
  EXPECT_EQ(listener.heard, (Texts{"a", "b"}));
}

TEST(EventQueueTest, WithoutAnObserverEventsAreForgotten) {
  EventQueue events;
  events.Add(Warning("a"));
  events.Deliver();
  Listener listener;
  events.SetObserver(&listener);
  events.Add(Warning("b"));
  events.Deliver();
  EXPECT_EQ(listener.heard, Texts{"b"});
}

TEST(EventQueueTest, AnObserverMayQueueAndDeliver) {
  EventQueue events;
  Listener listener;
  events.SetObserver(&listener);
  listener.then = [&](const std::string& text) {
    if (text != "a") return;
    events.Add(Warning("c"));
    events.Deliver();
    EXPECT_EQ(listener.heard, Texts{"a"}) << "one at a time";
  };
  events.Add(Warning("a"));
  events.Add(Warning("b"));
  events.Deliver();
  EXPECT_EQ(listener.heard, (Texts{"a", "b", "c"}));
}

TEST(EventQueueTest, AnObserverThatThrowsMissesThatEventOnly) {
  EventQueue events;
  Listener listener;
  events.SetObserver(&listener);
  listener.then = [](const std::string& text) {
    if (text == "a") throw std::bad_alloc();
  };
  events.Add(Warning("a"));
  events.Add(Warning("b"));
  events.Deliver();
  EXPECT_EQ(listener.heard, (Texts{"a", "b"}));
}

TEST(EventQueueTest, WhoeverDeliversWaitsUntilAnotherThreadHasToldOfItsEvent) {
  EventQueue events;
  Listener listener;
  std::atomic<bool> inside = false;
  std::atomic<bool> go_on = false;
  listener.then = [&](const std::string& text) {
    if (text != "slow") return;
    inside = true;
    while (!go_on) std::this_thread::yield();
  };
  events.SetObserver(&listener);
  events.Add(Warning("slow"));
  std::thread deliverer([&] { events.Deliver(); });
  while (!inside) std::this_thread::yield();
  std::thread other([&] {
    events.Add(Warning("mine"));
    events.Deliver();
    EXPECT_EQ(listener.heard, (Texts{"slow", "mine"}));
  });
  go_on = true;
  other.join();
  deliverer.join();
}

TEST(EventQueueTest, AnObserverThatIsReplacedIsNotCalledAnyMore) {
  EventQueue events;
  Listener listener;
  std::atomic<bool> inside = false;
  std::atomic<bool> go_on = false;
  listener.then = [&](const std::string&) {
    inside = true;
    while (!go_on) std::this_thread::yield();
  };
  events.SetObserver(&listener);
  events.Add(Warning("slow"));
  events.Add(Warning("late"));
  std::thread deliverer([&] { events.Deliver(); });
  while (!inside) std::this_thread::yield();
  std::atomic<bool> replaced = false;
  std::thread other([&] {
    events.SetObserver(nullptr);
    replaced = true;
  });
  while (events.observer() != nullptr) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(replaced) << "it is being told of something";
  go_on = true;
  other.join();
  deliverer.join();
  EXPECT_EQ(listener.heard, Texts{"slow"});
}

TEST(EventQueueTest, AnObserverMayTakeItselfOut) {
  EventQueue events;
  Listener listener;
  listener.then = [&](const std::string&) { events.SetObserver(nullptr); };
  events.SetObserver(&listener);
  events.Add(Warning("a"));
  events.Add(Warning("b"));
  events.Deliver();
  EXPECT_EQ(listener.heard, Texts{"a"});
}

}  // namespace
}  // namespace chainfs
