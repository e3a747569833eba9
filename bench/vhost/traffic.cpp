#include "bench/vhost/traffic.hpp"

namespace spinring::bench::vhost {
namespace {

/// A TX packet may be as large as its chain of descriptors says; what does not fit here is read, not kept.
constexpr std::size_t kStage = 64 * 1024;

}  // namespace

Traffic::Traffic(const TrafficOptions& options, unsigned pairs, std::uint64_t patience_ticks,
                 Violations& violations)
    : options_(options),
      frame_(options.frame_size),
      total_(kHeader + static_cast<std::uint32_t>(frame_.size())),
      patience_ticks_(patience_ticks),
      violations_(violations),
      given_(pairs),
      own_records_(options.records.empty() ? pairs : 0),
      records_(options.records.empty() ? std::span(own_records_) : options.records),
      least_(options.touch == Touch::kFrame && options.content == Content::kNull && total_ == kLeastTotal),
      scattered_(total_),
      stage_(kStage) {
  for (unsigned pair = 0; pair < pairs; ++pair) {
    given_[pair] = records_[pair].given;
    counters_.corrupt += records_[pair].corrupt;
    streams_.emplace_back(records_[pair]);
  }
  // A frame without its sequence number could not be checked.
  if (options_.content == Content::kSequence) options_.touch = Touch::kFrame;
  options_.batch = std::clamp(options_.batch, 1U, Batch::kMost);
  if (least_) fill(least_frame_.bytes.data(), 0);
  if (options_.content == Content::kNull) fill(scattered_.data(), 0);
  begin(options_.pace_ticks);
}

void Traffic::begin(double pace_ticks) {
  stopped_ = false;
  pace_.reset();
  probes_.reset();
  if (pace_ticks > 0 && least_) pace_.emplace(pace_ticks, patience_ticks_);
  if (options_.probes && pace_) probes_ = std::make_unique<Probes>();
}

unsigned Traffic::credit(std::uint64_t now) noexcept {
  if (!options_.receive || stopped_) return 0;
  if (pace_) return pace_->due(now, options_.batch);
  if (options_.in_flight == 0) return options_.batch;
  const std::uint64_t back = counters_.transmitted + counters_.forgiven;
  const std::uint64_t out = counters_.received > back ? counters_.received - back : 0;
  if (counters_.transmitted != progress_transmitted_ || out < options_.in_flight) {
    progress_transmitted_ = counters_.transmitted;
    progress_at_ = now;
  } else if (now - progress_at_ > patience_ticks_) {
    // The driver dropped them. Waiting on would stop the traffic for good.
    counters_.forgiven += out;
    progress_at_ = now;
  }
  if (out >= options_.in_flight) return 0;
  return static_cast<unsigned>(std::min<std::uint64_t>(options_.batch, options_.in_flight - out));
}

unsigned Traffic::scatter(unsigned from, unsigned pair, bool mergeable, unsigned& frames) noexcept {
  if (given_batch_.chains[from].data == nullptr) {
    ++counters_.refused;
    written_[from] = 0;
    return 1;
  }
  std::uint64_t room = 0;
  unsigned chains = 0;
  while (room < total_ && from + chains < given_batch_.count) {
    const Chain& chain = given_batch_.chains[from + chains];
    if (chain.data == nullptr) break;
    room += given_batch_.length(chain);
    ++chains;
    if (!mergeable) break;
  }
  if (room < total_) {
    // More buffers may follow, unless this is all that one frame can have.
    if (mergeable && chains > 0 && from + chains == given_batch_.count && (from > 0 || chains < Batch::kMost))
      return 0;
    violations_.note(Violation::kBufferSmall, room, total_);
    ++counters_.refused;
    std::fill_n(written_.begin() + from, chains, 0U);
    return chains;
  }
  if (options_.content == Content::kSequence) fill(scattered_.data(), pair);  // else it is always the same
  virtio_net_hdr_v1 header{};
  header.num_buffers = static_cast<std::uint16_t>(chains);
  std::memcpy(scattered_.data(), &header, sizeof(header));
  const std::byte* source = scattered_.data();
  std::uint64_t left = total_;
  for (unsigned i = from; i < from + chains; ++i) {
    const auto put = [&](const Piece& piece) {
      const std::uint64_t bytes = std::min<std::uint64_t>(left, piece.length);
      if (options_.touch == Touch::kFrame) std::memcpy(piece.data, source, bytes);
      if (options_.touch == Touch::kHeader && source == scattered_.data()) {
        std::memcpy(piece.data, source, std::min<std::uint64_t>(kHeader, bytes));
      }
      source += bytes;
      left -= bytes;
      written_[i] += static_cast<std::uint32_t>(bytes);
    };
    written_[i] = 0;
    put(given_batch_.chains[i].first());
    for (const Piece& piece : given_batch_.rest(given_batch_.chains[i])) put(piece);
  }
  ++frames;
  return chains;
}

void Traffic::inspect_pieces(const Chain& chain) noexcept {
  const std::uint64_t length = collected_batch_.length(chain);
  if (length < kHeader + kEthernet) return refuse_short(chain);
  if (options_.content == Content::kNull && chain.length >= kHeader) return read_pieces(chain);
  // The usual split: the header alone, then the frame.
  if (chain.length == kHeader && collected_batch_.rest(chain).size() == 1) {
    const Piece& frame = collected_batch_.rest(chain).front();
    return check(chain.data, {frame.data, frame.length});
  }
  std::size_t at = 0;
  const auto gather = [&](const Piece& piece) {
    const std::size_t bytes = std::min<std::size_t>(piece.length, stage_.size() - at);
    std::memcpy(stage_.data() + at, piece.data, bytes);
    at += bytes;
  };
  gather(chain.first());
  for (const Piece& piece : collected_batch_.rest(chain)) gather(piece);
  check(stage_.data(), {stage_.data() + kHeader, at - kHeader});
}

void Traffic::read_pieces(const Chain& chain) noexcept {
  ++counters_.transmitted;
  if (options_.touch == Touch::kNone) return;
  check_header(chain.data);
  if (options_.touch != Touch::kFrame) return;
  read({chain.data + kHeader, chain.length - kHeader});
  for (const Piece& piece : collected_batch_.rest(chain)) read({piece.data, piece.length});
}

void Traffic::check_sequence(std::span<const std::byte> frame) noexcept {
  const auto corrupt = [this](std::uint16_t stream) {
    ++counters_.corrupt;
    ++records_[stream].corrupt;
  };
  if (!frame_.intact(frame)) return corrupt(0);
  std::uint16_t stream = 0;
  std::uint64_t sequence = 0;
  std::memcpy(&stream, frame.data() + FrameTemplate::kStream, sizeof(stream));
  std::memcpy(&sequence, frame.data() + FrameTemplate::kSequence, sizeof(sequence));
  if (stream >= streams_.size() || sequence >= std::max(given_[stream], records_[stream].filled))
    return corrupt(0);
  streams_[stream].see(sequence);
}

void Traffic::refuse_short(const Chain& chain) noexcept {
  violations_.note(Violation::kPacketShort, chain.id, collected_batch_.length(chain));
  ++counters_.refused;
}

std::uint64_t Traffic::sequences_given() const noexcept {
  std::uint64_t sum = 0;
  for (const std::uint64_t count : given_) sum += count;
  return sum;
}

}  // namespace spinring::bench::vhost
