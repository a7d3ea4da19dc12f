// SPDX-License-Identifier: Apache-2.0
//
// What is added to the answer to the kernel's first request, and that no other reply is touched.
#include "fusefs/init_reply.h"

#include <gtest/gtest.h>
#include <linux/fuse.h>

namespace chainfs::fusefs {
namespace {

class InitReplyTest : public testing::Test {
 protected:
  struct Request {
    fuse_in_header header;
    fuse_init_in init;
  };
  static Request Asking(uint32_t opcode, uint64_t unique, uint32_t flags) {
    Request request = {};
    request.header.opcode = opcode;
    request.header.unique = unique;
    request.init.flags = flags;
    return request;
  }
  void See(const Request& request, size_t size = sizeof(Request)) {
    reply_.See(std::as_bytes(std::span(&request, 1)).first(size));
  }
  // The flags that the kernel gets of a reply with those.
  uint32_t Answered(uint64_t unique, uint32_t flags, size_t size = sizeof(fuse_init_out),
                    int error = 0) {
    fuse_out_header header = {.len = 0, .error = error, .unique = unique};
    fuse_init_out init = {};
    init.flags = flags;
    const iovec parts[] = {{.iov_base = &header, .iov_len = sizeof header},
                           {.iov_base = &init, .iov_len = size}};
    reply_.Complete(parts);
    return init.flags;
  }

  InitReply reply_;
};

TEST_F(InitReplyTest, TheAnswerToTheFirstRequestGetsTheFlag) {
  See(Asking(FUSE_INIT, 2, FUSE_PARALLEL_DIROPS | FUSE_ASYNC_DIO));
  EXPECT_EQ(Answered(2, FUSE_ASYNC_DIO), uint32_t{FUSE_PARALLEL_DIROPS | FUSE_ASYNC_DIO});
  EXPECT_EQ(Answered(2, 0), 0u) << "once";
}

TEST_F(InitReplyTest, OlderKernelsSendLess) {
  See(Asking(FUSE_INIT, 2, FUSE_PARALLEL_DIROPS), sizeof(fuse_in_header) + 16);
  EXPECT_EQ(Answered(2, 0, 24), uint32_t{FUSE_PARALLEL_DIROPS});
}

TEST_F(InitReplyTest, NotWhereTheKernelDoesNotOfferIt) {
  See(Asking(FUSE_INIT, 2, FUSE_ASYNC_DIO));
  EXPECT_EQ(Answered(2, 0), 0u);
}

TEST_F(InitReplyTest, OtherRepliesStayAsTheyAre) {
  See(Asking(FUSE_LOOKUP, 2, FUSE_PARALLEL_DIROPS));
  EXPECT_EQ(Answered(2, 0), 0u);
  See(Asking(FUSE_INIT, 4, FUSE_PARALLEL_DIROPS));
  EXPECT_EQ(Answered(2, 0), 0u) << "to another request";
  fuse_out_header alone = {.len = 0, .error = 0, .unique = 4};
  const iovec parts[] = {{.iov_base = &alone, .iov_len = sizeof alone}};
  reply_.Complete(parts);
  EXPECT_EQ(Answered(4, 0, sizeof(fuse_init_out), -71), 0u) << "an error";
  EXPECT_EQ(Answered(4, 0), uint32_t{FUSE_PARALLEL_DIROPS});
}

// The kernel speaks a newer version, is told which one we do, and asks again.
TEST_F(InitReplyTest, AnAnswerWithTheVersionAloneIsNotTheLast) {
  See(Asking(FUSE_INIT, 2, FUSE_PARALLEL_DIROPS));
  EXPECT_EQ(Answered(2, 0, 8), 0u);
  See(Asking(FUSE_INIT, 4, FUSE_PARALLEL_DIROPS));
  EXPECT_EQ(Answered(4, 0), uint32_t{FUSE_PARALLEL_DIROPS});
  See(Asking(FUSE_INIT, 6, FUSE_PARALLEL_DIROPS));
  EXPECT_EQ(Answered(6, 0), 0u) << "there is one session";
}

}  // namespace
}  // namespace chainfs::fusefs
