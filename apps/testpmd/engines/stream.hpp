#pragma once

#include <cstdint>

#include "apps/testpmd/topology.hpp"
#include "base/counter.hpp"
#include "base/cpu.hpp"
#include "pmd/port.hpp"

namespace spinring::testpmd {

/// What one stream counted. Written by its lcore, read by the main one at any time. Every packet is in
/// exactly one sum: received + generated = sent + tx_dropped + consumed. (A packet that a queue took and then
/// could not send is in `sent` here and in the queue's `rejected`.)
struct alignas(kCacheLine) StreamCounters {
  Counter received;
  Counter generated;   ///< made by this program: txonly, tx_first
  Counter sent;        ///< taken by the TX queue
  Counter tx_dropped;  ///< not taken: the TX ring was full; freed
  Counter consumed;    ///< freed on purpose: rxonly
};

/// A stream with what its engine needs.
struct alignas(kCacheLine) Stream {
  pmd::AnyRxQueue<pmd::SpinringPackets> rx;
  pmd::AnyTxQueue<pmd::SpinringPackets> tx;
  std::uint32_t empty_polls = 0;  ///< in a row
  std::uint32_t tx_retries = 0;   ///< times that a full TX queue is offered the rest of a burst again
  pmd::MacAddress source{};       ///< of the TX port
  pmd::MacAddress peer{};         ///< --eth-peer of the TX port
  std::uint16_t tx_length = 0;    ///< bytes of a frame that txonly makes
  pmd::Offloads tx_offloads{};    ///< that the TX port was started with
  StreamPlan plan;
  StreamCounters counters;
};

}  // namespace spinring::testpmd
