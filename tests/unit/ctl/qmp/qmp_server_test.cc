// SPDX-License-Identifier: Apache-2.0
//
// Clients that mean harm, or are slow, or many: nobody else suffers.
#include "ctl/qmp/server.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <optional>
#include <thread>
#include <vector>

#include "ctl/qmp/listening_socket.h"
#include "tests/support/random.h"
#include "tests/unit/ctl/qmp/qmp_fixture.h"

namespace chainfs::qmp {
namespace {

class ServerTest : public QmpTest {
 protected:
  mode_t ModeOfSocket() const {
    struct stat st = {};
    return ::stat(socket_.c_str(), &st) == 0 ? st.st_mode : 0;
  }
  // A good client is answered.
  void ExpectService() {
    const auto client = Connect();
    EXPECT_EQ(client->Return("query-jobs"), json::array());
  }
  // Until those who have left are forgotten.
  void ExpectPlace() {
    for (int attempt = 0; attempt < 10'000; ++attempt) {
      QmpClient client(socket_);
      if (client.greeting().contains("QMP")) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ADD_FAILURE() << "no place";
  }
};

TEST_F(ServerTest, TheSocketIsForItsOwnerAndGoesInTheEnd) {
  EXPECT_EQ(ModeOfSocket(), S_IFSOCK | 0600);
  server_.reset();
  EXPECT_EQ(ModeOfSocket(), 0U);
}

TEST_F(ServerTest, AGroupIsLetIn) {
  server_.reset();
  Serve(kControlGroup);
  EXPECT_EQ(ModeOfSocket(), S_IFSOCK | 0660);
  struct stat st = {};
  ASSERT_EQ(::stat(socket_.c_str(), &st), 0);
  EXPECT_EQ(st.st_gid, kControlGroup);
}

TEST_F(ServerTest, AStaleSocketIsReplacedAndNothingElseIs) {
  const auto listen = [&](const std::string& path) {
    const auto server = Server::Listen(path, std::nullopt, *catalog_, *plane_);
    return server ? "" : server.error().message;
  };
  EXPECT_NE(listen(socket_).find("somebody else listens"), std::string::npos);
  ExpectService();
  const std::string stale = dir_ / "stale";
  {
    const UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, stale.data(), stale.size());
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  EXPECT_EQ(listen(stale), "");
  const std::string file = dir_ / "file";
  std::ofstream(file) << "precious";
  EXPECT_NE(listen(file).find("no socket"), std::string::npos);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(std::ifstream(file).rdbuf()), {}),
            "precious");
  EXPECT_NE(listen("/" + std::string(200, 'a')).find("longer than 107"), std::string::npos);
  EXPECT_NE(listen(dir_ / "no/where"), "");
}

// Daemons that start at once find what one that was killed has left.
TEST_F(ServerTest, OneOfManyGetsAStaleSocket) {
  const std::string path = dir_ / "contended";
  for (int round = 0; round < 30; ++round) {
    {
      const UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
      sockaddr_un address = {};
      address.sun_family = AF_UNIX;
      std::memcpy(address.sun_path, path.data(), path.size());
      ASSERT_EQ(::bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    }
    std::array<std::optional<ListeningSocket>, 6> sockets;
    std::vector<std::thread> daemons;
    for (auto& mine : sockets) {
      daemons.emplace_back([&mine, &path] {
        Result<ListeningSocket> opened = ListeningSocket::Open(path, std::nullopt);
        if (opened) {
          mine.emplace(*std::move(opened));
        } else {
          EXPECT_EQ(opened.error().kind, ErrorKind::kBusy) << opened.error().message;
        }
      });
    }
    for (std::thread& daemon : daemons) daemon.join();
    const auto winner = std::ranges::find_if(sockets, [](const auto& one) { return !!one; });
    ASSERT_NE(winner, sockets.end());
    EXPECT_EQ(std::ranges::count_if(sockets, [](const auto& one) { return !!one; }), 1);
    // The name leads to it.
    const UniqueFd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const UniqueFd accepted(::accept((*winner)->fd(), nullptr, nullptr));
    EXPECT_TRUE(accepted.valid());
  }
}

// Of a process of that user and group: what the server says first.
std::string GreetingTo(const std::string& path, uid_t uid, gid_t gid, gid_t further) {
  std::array<int, 2> pipe = {};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return "pipe";
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const pid_t child = ::fork();
  if (child == 0) {
    std::array<char, 4096> text = {};
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    ssize_t got = 0;
    if (::setgroups(1, &further) == 0 && ::setresgid(gid, gid, gid) == 0 &&
        ::setresuid(uid, uid, uid) == 0 &&
        ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
      got = ::read(fd, text.data(), text.size());
    }
    if (got > 0) got = ::write(pipe[1], text.data(), static_cast<size_t>(got));
    ::_exit(got > 0 ? 0 : 1);
  }
  ::close(pipe[1]);
  const UniqueFd out(pipe[0]);
  std::array<char, 4096> text = {};
  const ssize_t got = ::read(out.get(), text.data(), text.size());
  int status = 0;
  ::waitpid(child, &status, 0);
  return got > 0 ? std::string(text.data(), static_cast<size_t>(got)) : "";
}

TEST_F(ServerTest, WhoMayNotGiveCommandsIsSentAway) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  // The kernel would let them in.
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
  ASSERT_EQ(::chmod(socket_.c_str(), 0666), 0);
  const auto greeted = [&](uid_t uid, gid_t gid, gid_t further) {
    return GreetingTo(socket_, uid, gid, further).find("QMP") != std::string::npos;
  };
  EXPECT_TRUE(greeted(kDaemon, 77, 77));
  EXPECT_TRUE(greeted(77, kControlGroup, 77));
  EXPECT_TRUE(greeted(77, 77, kControlGroup));
  EXPECT_FALSE(greeted(77, 77, 77));
  EXPECT_NE(GreetingTo(socket_, 77, 77, 77).find("control_gid"), std::string::npos);
  ExpectService();
}

TEST_F(ServerTest, ManyClientsAreServedAndTooManyAreTold) {
  std::vector<std::unique_ptr<QmpClient>> clients;
  for (size_t i = 0; i < Server::kMaxClients; ++i) clients.push_back(Connect());
  const QmpClient refused(socket_);
  EXPECT_NE(refused.greeting().dump().find("16 QMP clients"), std::string::npos)
      << refused.greeting();
  EXPECT_EQ(clients.front()->Return("block-stream", {{"device", "vm"}}), json::object());
  for (const auto& client : clients) {
    EXPECT_FALSE(client->WaitForEvent("BLOCK_JOB_COMPLETED", "vm").is_null());
  }
  clients.clear();
  ExpectPlace();
}

TEST_F(ServerTest, EndlessLinesAndDepthsHarmNobody) {
  QmpClient hostile(socket_);
  const std::string block(size_t{1} << 16, '[');
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(hostile.Send(block));
  EXPECT_EQ(hostile.NextLine()["error"]["desc"], "JSON nesting depth limit exceeded");
  const std::string text = "\n{\"a\":\"" + std::string(size_t{1} << 22, 'a');
  ASSERT_TRUE(hostile.Send(text));
  EXPECT_EQ(hostile.NextLine()["error"]["desc"], "JSON token size limit exceeded");
  ASSERT_TRUE(hostile.Send("\n"));
  EXPECT_EQ(hostile.Return("qmp_capabilities"), json::object());
  ExpectService();
}

TEST_F(ServerTest, HalfALineIsForgotten) {
  for (const bool negotiated : {false, true}) {
    QmpClient hostile(socket_);
    if (negotiated) hostile.Return("qmp_capabilities");
    ASSERT_TRUE(hostile.Send(R"({"execute":"block-stream","arguments":{"device":"vm"})"));
  }
  ExpectService();
  EXPECT_EQ(Layers("vm").size(), 2U);
  EXPECT_TRUE(plane_->jobs.Jobs("").empty());
}

TEST_F(ServerTest, WhoSendsItAllAndWaitsGetsEveryAnswer) {
  QmpClient client(socket_);
  std::string all = R"({"execute":"qmp_capabilities"})";
  constexpr int kQuestions = 5000;
  for (int i = 0; i < kQuestions; ++i)
    all += "{'execute':'query-jobs','id':" + std::to_string(i) + "}";
  std::thread sender([&] {
    client.Send(all);
    client.Finish();
  });
  EXPECT_EQ(client.NextLine()["return"], json::object());
  for (int i = 0; i < kQuestions; ++i) ASSERT_EQ(client.NextLine()["id"], i);
  EXPECT_TRUE(client.NextLine().is_null());
  sender.join();
}

// It asks and does not read: its questions stop being read, and the others do not notice.
TEST_F(ServerTest, WhoDoesNotReadIsNotServed) {
  const auto slow = Connect();
  ::fcntl(slow->fd(), F_SETFL, O_NONBLOCK);
  std::string questions;
  for (int i = 0; i < 500; ++i) questions += R"({"execute":"query-commands"})";
  size_t sent = 0;
  for (int idle = 0; idle < 20;) {
    const ssize_t got = ::send(slow->fd(), questions.data(), questions.size(), MSG_NOSIGNAL);
    if (got > 0) {
      sent += static_cast<size_t>(got);
      idle = 0;
    } else {
      ++idle;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ASSERT_LT(sent, 64U << 20);
  }
  const auto client = Connect();
  for (size_t i = 0; i < 2 * jobs::EventLog::kRetained; ++i) {
    plane_->events.Publish("SHUTDOWN", {});
  }
  EXPECT_EQ(client->Return("block-stream", {{"device", "vm"}}), json::object());
  EXPECT_FALSE(client->WaitForEvent("BLOCK_JOB_COMPLETED", "vm").is_null());
  // Once it reads, it learns what it has missed.
  EXPECT_FALSE(slow->WaitForEvent("LOST").is_null());
  EXPECT_FALSE(slow->WaitForEvent("BLOCK_JOB_COMPLETED", "vm").is_null());
}

TEST_F(ServerTest, NoiseHarmsNobody) {
  Random random;
  for (int round = 0; round < 30; ++round) {
    QmpClient hostile(socket_);
    if (!hostile.greeting().contains("QMP")) continue;
    std::string noise(1 + random.Below(20'000), '\0');
    constexpr std::string_view kLetters = "{}[]\"'\\:,0123eutn \n\xff\x01";
    for (char& letter : noise) letter = kLetters[random.Below(kLetters.size())];
    std::thread sender([&] {
      hostile.Send(noise);
      hostile.Finish();
    });
    while (!hostile.NextLine().is_null()) {
    }
    sender.join();
  }
  ExpectPlace();
  ExpectService();
}

TEST_F(ServerTest, TheEndIsToldAndEndsTheConnection) {
  const auto client = Connect();
  client->Return("block-stream", SlowStream("j"));
  plane_->EndJobs();
  server_->Stop();
  EXPECT_EQ(client->WaitForEvent("SHUTDOWN")["data"]["guest"], false);
  EXPECT_TRUE(client->NextLine().is_null());
}

}  // namespace
}  // namespace chainfs::qmp
