#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/cpu.hpp"
#include "bench/vhost/batch.hpp"
#include "bench/vhost/frames.hpp"
#include "bench/vhost/least_frames.hpp"
#include "bench/vhost/pace.hpp"
#include "bench/vhost/probes.hpp"
#include "bench/vhost/protocol.hpp"

namespace spinring::bench::vhost {

enum class Content : std::uint8_t { kNull, kSequence };
/// How much of a packet this side touches.
enum class Touch : std::uint8_t { kNone, kHeader, kFrame };

struct TrafficOptions {
  Content content = Content::kNull;
  Touch touch = Touch::kFrame;
  bool receive = true;   ///< give the driver frames
  bool transmit = true;  ///< take frames from it
  std::size_t frame_size = kLeastFrame;
  std::uint64_t in_flight =
      0;  ///< at most so many frames given and not yet back; 0: as many as the ring allows
  unsigned batch = Batch::kMost;
  double pace_ticks = 0;             ///< from one frame to the next; 0: as fast as they are taken
  unsigned vectors = vector_bits();  ///< bits of those that frames are written and read by
  bool probes = false;  ///< take the time of some frames: those of the least size, without sequence numbers
  /// One for each pair, to go on from; they outlive the traffic. None: it begins with its own.
  std::span<StreamRecord> records{};
};

struct TrafficCounters {
  std::uint64_t received = 0;     ///< frames given to the driver
  std::uint64_t transmitted = 0;  ///< frames taken from it
  std::uint64_t refused = 0;      ///< buffers given back unused
  std::uint64_t corrupt = 0;      ///< frames that came back changed
  std::uint64_t forgiven = 0;     ///< of in_flight: frames that were waited for in vain
  std::uint64_t touched = 0;      ///< keeps the reads of payload alive
};

/// Makes the frames that the driver receives and takes those that it sends: both passes of one queue pair
/// over either ring. One thread.
class Traffic {
 public:
  static constexpr std::uint32_t kHeader = LeastFrame::kHeader;

  Traffic(const TrafficOptions& options, unsigned pairs, std::uint64_t patience_ticks,
          Violations& violations);

  /// First half of a pass over a receive queue: takes buffers and has their lines fetched. The halves of both
  /// queues of a pair are interleaved, so that one queue's misses pass while the other is worked on.
  template <class Ring>
  void begin_giving(Ring& ring, std::uint64_t now) noexcept {
    wanted_ = credit(now);
    // A frame may need several buffers; one by one they are as many as the frames.
    ring.take(given_batch_, wanted_ == 0 ? 0 : (total_ <= kOneBuffer ? wanted_ : Batch::kMost));
    if (options_.touch == Touch::kFrame) prefetch_batch(given_batch_);
  }

  /// Second half: fills the buffers and gives them back. True: something was completed.
  template <class Ring>
  bool finish_giving(Ring& ring, unsigned pair, bool mergeable) noexcept {
    unsigned frames = least_ ? give_least() : 0;
    if (pace_ && frames != 0) send_paced(frames);
    const unsigned usual = frames;
    unsigned done = frames;
    while (done < given_batch_.count && frames < wanted_) {
      const Piece piece = given_batch_.chains[done].first();
      if (piece.length >= total_) [[likely]] {
        fill(piece.data, pair);
        written_[done++] = total_;
        ++frames;
        continue;
      }
      const unsigned taken = scatter(done, pair, mergeable, frames);
      if (taken == 0) break;
      done += taken;
    }
    counters_.received += frames;
    if (done == 0) return false;
    StreamRecord& record = records_[pair];
    // In this order: a process that is killed anywhere in it leaves a record that is true.
    record.filled = std::max(record.filled, given_[pair]);
    if (done == usual) {
      ring.complete(given_batch_, done, SameWritten{total_});
    } else {
      std::fill_n(written_.begin(), usual, total_);
      ring.complete(given_batch_, done, written_);
    }
    __atomic_store_n(&record.given, given_[pair], __ATOMIC_RELEASE);
    return true;
  }

  /// First half of a pass over a transmit queue.
  template <class Ring>
  void begin_collecting(Ring& ring) noexcept {
    ring.take(collected_batch_, options_.transmit ? options_.batch : 0);
    if (options_.touch != Touch::kNone) prefetch_batch(collected_batch_);
  }

  /// Second half: reads and judges the packets. True: something was completed.
  template <class Ring>
  bool finish_collecting(Ring& ring) noexcept {
    if (collected_batch_.count == 0) return false;
    for (unsigned i = least_ ? read_least() : 0; i < collected_batch_.count; ++i) {
      inspect(collected_batch_.chains[i]);
    }
    ring.complete(collected_batch_, collected_batch_.count, SameWritten{});
    return true;
  }

  [[nodiscard]] const TrafficCounters& counters() const noexcept { return counters_; }
  [[nodiscard]] const std::vector<SequenceChecker>& streams() const noexcept { return streams_; }
  /// Frames of all streams that were given.
  [[nodiscard]] std::uint64_t sequences_given() const noexcept;
  /// None unless asked for.
  [[nodiscard]] const Probes* probes() const noexcept { return probes_.get(); }
  [[nodiscard]] Probes* probes() noexcept { return probes_.get(); }
  /// No frame is given until begin().
  void stop_giving() noexcept { stopped_ = true; }
  /// Frames at this distance in time from now on, or as fast as they are taken, with new probes.
  void begin(double pace_ticks);

 private:
  static constexpr std::uint32_t kLeastTotal = sizeof(LeastFrame);
  static constexpr std::uint32_t kOneBuffer = 1526;  ///< 5.1.6.3.1: what every receive buffer can hold

  /// The lines of buffers that are ours now: all of a batch's misses at once, not one after the other. For
  /// writing, those of sent frames as well: a driver that goes round with few buffers offers them again soon.
  static void prefetch_batch(const Batch& batch) noexcept {
    for (unsigned i = 0; i < batch.count; ++i) {
      const std::byte* data = batch.chains[i].data;
      prefetch_write(data);
      prefetch_write(data + kHeader + kLeastFrame - 1);
    }
  }

  /// Header and least frame, without sequence numbers: what is measured most is done by whole vectors, up to
  /// the first buffer that is not as usual; returns how many.
  [[nodiscard]] unsigned give_least() noexcept {
    const std::span<const Chain> usual =
        usual_chains(given_batch_, std::min(given_batch_.count, wanted_),
                     [](std::uint32_t length) { return length >= kLeastTotal; });
    write_frames(options_.vectors, usual, least_frame_);
    return static_cast<unsigned>(usual.size());
  }
  /// If one of them has a header that says something: none, and all are to be inspected.
  [[nodiscard]] unsigned read_least() noexcept {
    const std::span<const Chain> usual = usual_chains(
        collected_batch_, collected_batch_.count, [](std::uint32_t length) { return length == kLeastTotal; });
    const FramesRead read = read_frames(options_.vectors, usual);
    if (read.requests) [[unlikely]]
      return 0;
    if (probes_) [[unlikely]]
      look_for_probes(usual);
    // QUIRK(DPDK 22.11): num_buffers of nearly every frame, so it is no reason to leave.
    if (read.with_buffers != 0) violations_.note(Violation::kNumBuffers, read.buffers, 0, read.with_buffers);
    counters_.transmitted += usual.size();
    counters_.touched += read.sum;
    return static_cast<unsigned>(usual.size());
  }

  /// The first chains of a batch, `most` at most, that are one piece each of a good length.
  template <class Good>
  static std::span<const Chain> usual_chains(const Batch& batch, unsigned most, Good good) noexcept {
    unsigned count = 0;
    if (batch.alike) [[likely]] {
      if (good(batch.chains[0].length)) count = most;
    } else {
      while (count < most && batch.chains[count].further == 0 && good(batch.chains[count].length)) ++count;
    }
    return {batch.chains.data(), count};
  }

  void look_for_probes(std::span<const Chain> chains) noexcept {
    for (const Chain& chain : chains) {
      std::uint16_t stream = 0;
      std::uint64_t number = 0;
      std::memcpy(&stream, chain.data + kHeader + FrameTemplate::kStream, sizeof(stream));
      std::memcpy(&number, chain.data + kHeader + FrameTemplate::kSequence, sizeof(number));
      if (stream == Probes::kStream) probes_->see(number, read_tsc());
    }
  }

  /// The frames of this pass have gone; one of them, each time at another place, is a probe.
  void send_paced(unsigned frames) noexcept {
    if (probes_) {
      const unsigned place = probe_turn_++ % frames;
      FrameTemplate::stamp(given_batch_.chains[place].data + kHeader, Probes::kStream,
                           probes_->send(pace_->time_of(place)));
    }
    pace_->sent(frames);
  }

  void fill(std::byte* to, unsigned pair) noexcept {
    if (options_.touch != Touch::kNone) {
      virtio_net_hdr_v1 header{};
      header.num_buffers = 1;
      std::memcpy(to, &header, sizeof(header));
    }
    if (options_.touch != Touch::kFrame) return;
    frame_.write(to + kHeader);
    if (options_.content == Content::kSequence) {
      FrameTemplate::stamp(to + kHeader, static_cast<std::uint16_t>(pair), given_[pair]++);
    }
  }

  void inspect(const Chain& chain) noexcept {
    if (chain.data == nullptr) [[unlikely]] {
      ++counters_.refused;
      return;
    }
    if (chain.further == 0) [[likely]] {
      if (chain.length < kHeader + kEthernet) [[unlikely]]
        return refuse_short(chain);
      check(chain.data, {chain.data + kHeader, chain.length - kHeader});
    } else {
      inspect_pieces(chain);
    }
  }

  void check(const std::byte* header, std::span<const std::byte> frame) noexcept {
    ++counters_.transmitted;
    if (options_.touch == Touch::kNone) return;
    check_header(header);
    if (options_.content == Content::kSequence) {
      check_sequence(frame);
    } else if (options_.touch == Touch::kFrame) {
      read(frame);
    }
  }

  void check_header(const std::byte* at) noexcept {
    virtio_net_hdr_v1 header;
    std::memcpy(&header, at, sizeof(header));
    if ((header.flags | header.gso_type) != 0) [[unlikely]] {
      violations_.note(Violation::kPacketHeader, header.flags, header.gso_type);
    }
    if (header.num_buffers != 0) violations_.note(Violation::kNumBuffers, header.num_buffers, 0);
  }

  void read(std::span<const std::byte> bytes) noexcept {
    counters_.touched += read_bytes(options_.vectors, bytes);
  }

  static constexpr std::uint32_t kEthernet = 14;

  [[nodiscard]] unsigned credit(std::uint64_t now) noexcept;
  unsigned scatter(unsigned from, unsigned pair, bool mergeable, unsigned& frames) noexcept;
  void inspect_pieces(const Chain& chain) noexcept;
  void read_pieces(const Chain& chain) noexcept;
  void check_sequence(std::span<const std::byte> frame) noexcept;
  void refuse_short(const Chain& chain) noexcept;

  TrafficOptions options_;
  FrameTemplate frame_;
  std::uint32_t total_;  ///< header and frame
  std::uint64_t patience_ticks_;
  Violations& violations_;
  TrafficCounters counters_;
  Batch given_batch_;      ///< of the receive queue in work
  Batch collected_batch_;  ///< of the transmit queue in work
  bool stopped_ = false;
  unsigned wanted_ = 0;  ///< frames at most, of the receive queue in work
  std::array<std::uint32_t, Batch::kMost> written_{};
  std::vector<std::uint64_t> given_;  ///< next sequence number of each stream
  std::vector<StreamRecord> own_records_;
  std::span<StreamRecord> records_;
  std::vector<SequenceChecker> streams_;
  bool least_;  ///< frames of the least size without sequence numbers, written and read whole
  LeastFrame least_frame_{};
  std::optional<Pace> pace_;
  std::unique_ptr<Probes> probes_;
  unsigned probe_turn_ = 0;
  std::vector<std::byte> scattered_;  ///< header and frame that are given in several pieces
  std::vector<std::byte> stage_;      ///< a frame that came in several pieces
  std::uint64_t progress_at_ = 0;
  std::uint64_t progress_transmitted_ = 0;
};

}  // namespace spinring::bench::vhost
