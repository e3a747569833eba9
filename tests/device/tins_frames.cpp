#include "tests/device/tins_frames.hpp"

namespace spinring::test {
namespace {

std::vector<std::uint8_t> noise(std::size_t count) {
  std::vector<std::uint8_t> bytes(count);
  std::uint32_t state = static_cast<std::uint32_t>(count) + 1;
  for (std::uint8_t& byte : bytes) {
    state = state * 1664525U + 1013904223U;
    byte = static_cast<std::uint8_t>(state >> 24);
  }
  return bytes;
}

template <class Address>
std::uint32_t pseudo_sum(const Flow& flow, std::size_t length) {
  return Tins::Utils::pseudoheader_checksum(Address(flow.source), Address(flow.destination),
                                            static_cast<std::uint16_t>(length),
                                            flow.tcp ? std::uint16_t{6} : std::uint16_t{17});
}

}  // namespace

Tins::EthernetII make_packet(const Flow& flow, std::size_t payload, std::uint32_t sequence) {
  Tins::EthernetII packet(Tins::EthernetII::address_type(pmd::to_string(kMac)),
                          Tins::EthernetII::address_type("52:54:00:aa:bb:cc"));
  if (flow.ipv6) {
    packet /= Tins::IPv6(flow.destination, flow.source);
  } else {
    Tins::IP ip(flow.destination, flow.source);
    ip.id(0x4321);
    ip.ttl(64);
    packet /= ip;
  }
  if (flow.tcp) {
    Tins::TCP tcp(flow.destination_port, flow.source_port);
    tcp.seq(sequence);
    tcp.ack_seq(77);
    tcp.window(8000);
    tcp.set_flag(Tins::TCP::ACK, 1);
    tcp.set_flag(Tins::TCP::PSH, 1);
    tcp.timestamp(123456, 654321);
    packet /= tcp;
  } else {
    packet /= Tins::UDP(flow.destination_port, flow.source_port);
  }
  if (payload != 0) packet /= Tins::RawPDU(noise(payload));
  return packet;
}

Frame bytes_of(Tins::EthernetII packet) { return packet.serialize(); }

bool tins_finds_sound(const Frame& frame) {
  Tins::EthernetII packet(frame.data(), static_cast<std::uint32_t>(frame.size()));
  return packet.serialize() == frame;
}

std::uint16_t l4_start(const Flow& flow) { return flow.ipv6 ? 14 + 40 : 14 + 20; }
std::uint16_t checksum_at(const Flow& flow) { return flow.tcp ? 16 : 6; }

Frame without_checksums(const Flow& flow, const Frame& frame) {
  Frame bare = frame;
  const std::size_t l4 = l4_start(flow);
  // The L4 length by the IP header: a short frame is padded behind it.
  const std::size_t length =
      flow.ipv6 ? frame[18] * 256U + frame[19] : frame[16] * 256U + frame[17] - (l4 - 14);
  std::uint32_t sum =
      flow.ipv6 ? pseudo_sum<Tins::IPv6Address>(flow, length) : pseudo_sum<Tins::IPv4Address>(flow, length);
  while (sum > 0xFFFF) sum = (sum & 0xFFFFU) + (sum >> 16);
  // libtins adds up words as they lie in memory.
  bare[l4 + checksum_at(flow)] = static_cast<std::uint8_t>(sum);
  bare[l4 + checksum_at(flow) + 1U] = static_cast<std::uint8_t>(sum >> 8);
  if (!flow.ipv6) bare[24] = bare[25] = 0;
  return bare;
}

}  // namespace spinring::test
