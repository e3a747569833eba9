#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tests/sim/sim_config_space.hpp"
#include "tests/sim/sim_iommu.hpp"
#include "tests/sim/sim_packed_ring.hpp"
#include "tests/sim/sim_pci_function.hpp"
#include "tests/sim/sim_pci_target.hpp"
#include "tests/sim/sim_ring.hpp"
#include "tests/sim/sim_split_ring.hpp"

namespace spinring::sim {

/// How the device misbehaves. All off: it keeps to the specification.
struct VirtioKnobs {
  bool removed = false;  ///< every register reads as all ones
  bool features_ok_sticks = true;
  int resets_that_complete = -1;         ///< after so many the status never reads 0 again; -1: all complete
  int reset_reads = 0;                   ///< status reads after a reset before it shows 0
  std::uint64_t flipping_features = 0;   ///< bits that change with every read of device_feature
  std::uint64_t withdrawn_features = 0;  ///< no longer shown as offered
  int generation_changes = 0;            ///< reads of config_generation that show a new value; -1: all
  bool refuse_vectors = false;           ///< MSI-X vectors read back as "no vector"
  bool answers_control = true;
  std::uint8_t control_ack = 0;  ///< what a good command is answered with
  std::uint32_t control_used_length = 1;
  bool control_wrong_id = false;                 ///< the used entry of a command names another chain
  std::map<unsigned, std::uint16_t> queue_size;  ///< by queue: maximum shown instead of the real one
  std::map<unsigned, std::uint16_t> notify_off;  ///< by queue: queue_notify_off shown
  int num_queues = -1;                           ///< shown instead of the real number
  int queue_reset_reads = 0;                     ///< of queue_reset that show 1 after a reset; -1: all
  /// Under IN_ORDER one used entry stands for all chains that were used completely before it; applies to the
  /// queues that are enabled from then on (for a running one: SimRing::batch_used).
  bool batch_used = false;
};

/// One virtqueue as the common configuration shows it.
struct SimQueue {
  std::uint16_t size = 0;
  std::uint16_t vector = 0xffff;
  std::uint64_t descriptors = 0;
  std::uint64_t driver = 0;
  std::uint64_t device = 0;
  bool enabled = false;
  std::unique_ptr<SimRing> ring;
  bool resetting = false;                    ///< reset alone, and the driver has not read that it is done
  int reset_reads_left = 0;                  ///< of queue_reset, before it shows 0; -1: for ever
  std::uint64_t resets = 0;                  ///< of this queue alone, since the device's
  std::uint64_t notifications = 0;           ///< doorbells since the device's reset
  std::uint64_t unwanted_notifications = 0;  ///< of these, while they were suppressed
  std::uint64_t interrupts = 0;
};

/// A virtio device on PCI (virtio 1.2, 4.1), written from the specification and <linux/virtio_*.h>. A driver
/// that breaks a MUST is recorded: tests end by asserting that violations() is empty. A DMA outside the
/// mapped regions, or a broken ring, makes the device ask for a reset as QEMU's does.
class SimVirtioDevice : public SimPciTarget {
 public:
  SimVirtioDevice(const SimIdentity& identity, const SimLayout& layout, std::uint64_t features,
                  unsigned vectors);
  ~SimVirtioDevice() override = default;

  /// The function for a driver to open. One at a time; the device outlives it.
  [[nodiscard]] std::unique_ptr<pmd::PciFunction> function(std::string name = "sim0");
  [[nodiscard]] SimIommu& iommu() noexcept { return iommu_; }

  [[nodiscard]] std::vector<std::string> violations() const;
  [[nodiscard]] std::uint8_t status() const noexcept { return status_; }
  [[nodiscard]] std::uint64_t offered() const noexcept { return offered_; }
  /// From the next reset on.
  void offer(std::uint64_t features) noexcept { offered_ = features; }
  /// What the driver accepted; valid once FEATURES_OK is set.
  [[nodiscard]] std::uint64_t accepted() const noexcept { return accepted_; }
  [[nodiscard]] bool negotiated(unsigned bit) const noexcept { return ((accepted_ >> bit) & 1U) != 0; }
  [[nodiscard]] bool running() const noexcept;
  [[nodiscard]] bool needs_reset() const noexcept;
  [[nodiscard]] bool is_open() const noexcept { return open_; }
  [[nodiscard]] std::uint64_t resets() const noexcept { return resets_; }
  [[nodiscard]] std::uint64_t accesses_outside_bar() const noexcept { return outside_bar_; }
  /// Every value written to device_status, in order.
  [[nodiscard]] const std::vector<std::uint8_t>& status_writes() const noexcept { return status_writes_; }
  [[nodiscard]] std::uint16_t config_vector() const noexcept { return config_vector_; }

  [[nodiscard]] SimQueue& queue(unsigned index);
  /// The queue's ring, of whatever layout was negotiated; the queue is enabled.
  [[nodiscard]] SimRing& ring(unsigned index);
  /// The same, and it is known to be split or packed.
  [[nodiscard]] SimSplitRing& split(unsigned index) { return dynamic_cast<SimSplitRing&>(ring(index)); }
  [[nodiscard]] SimPackedRing& packed(unsigned index) { return dynamic_cast<SimPackedRing&>(ring(index)); }
  [[nodiscard]] std::uint64_t all_notifications() const;

  /// Sets DEVICE_NEEDS_RESET and tells the driver.
  void ask_for_reset();
  /// Tells the driver that device configuration changed (virtio 1.2, 4.1.4.5).
  void configuration_changed();

  /// Changed by tests before or while the driver runs.
  VirtioKnobs knobs;
  BusKnobs bus;
  SimConfigSpace config_space;
  std::uint16_t queue_size_max = 256;

  // --- SimPciTarget ---
  std::uint32_t config_read(std::uint16_t offset, unsigned width) override;
  void config_write(std::uint16_t offset, unsigned width, std::uint32_t value) override;
  std::uint64_t bar_size(unsigned bar) override;
  std::uint64_t mmio_read(unsigned bar, std::uint64_t offset, unsigned width) override;
  void mmio_write(unsigned bar, std::uint64_t offset, unsigned width, std::uint64_t value) override;
  void outside_bar(unsigned bar, std::uint64_t offset, unsigned width) override;
  void opened() override;
  void function_reset() override;
  void bus_master(bool on) override;
  void released() override;
  [[nodiscard]] unsigned interrupt_vectors() const override { return vectors_; }
  void connect_interrupts(const int* fds, unsigned count) override;

 protected:
  using Lock = std::lock_guard<std::recursive_mutex>;

  /// How many queues the device has with the features that were offered.
  [[nodiscard]] virtual unsigned queue_count() const = 0;
  virtual std::uint64_t read_device_config(std::uint64_t offset, unsigned width) = 0;
  virtual void write_device_config(std::uint64_t offset, unsigned width, std::uint64_t value) = 0;
  /// Checks accepted features against each other; false: FEATURES_OK is refused.
  [[nodiscard]] virtual bool features_fit() = 0;
  virtual void device_reset() = 0;
  /// The driver rang the doorbell of an enabled queue.
  virtual void notified(unsigned queue) = 0;

  void violation(const std::string& what);
  void interrupt(SimQueue& queue);
  /// Publishes what was pushed, and interrupts if the driver wants it.
  void publish(SimQueue& queue);
  /// A ring or a DMA broke: DEVICE_NEEDS_RESET if that is so.
  void note_breakage(const SimQueue& queue);

  mutable std::recursive_mutex mutex_;
  SimIommu iommu_;

 private:
  std::uint64_t read_common(std::uint64_t offset, unsigned width);
  void write_common(std::uint64_t offset, unsigned width, std::uint64_t value);
  [[nodiscard]] bool check_access(std::uint64_t offset, unsigned width, bool write);
  std::uint64_t read_queue_register(std::uint64_t offset);
  void write_queue_register(std::uint64_t offset, std::uint64_t value);
  std::uint8_t read_status();
  void write_status(std::uint8_t value);
  void set_features_ok();
  void set_driver_ok();
  void accept_features(std::uint32_t value);
  void set_queue_size(SimQueue& queue, std::uint64_t value);
  void enable_queue(unsigned index, std::uint64_t value);
  void reset_queue(unsigned index, std::uint64_t value);
  std::uint16_t read_queue_reset(SimQueue& selected);
  std::unique_ptr<SimRing> make_ring(unsigned index, const SimQueue& queue);
  void notify(std::uint64_t offset, unsigned width, std::uint64_t value);
  void reset_device();
  void fire(std::uint16_t vector);
  [[nodiscard]] std::uint16_t maximum_size(unsigned index) const;
  [[nodiscard]] std::uint16_t notify_offset(unsigned index) const;

  SimLayout layout_;
  std::uint64_t offered_;
  unsigned vectors_;
  std::vector<int> interrupt_fds_;
  std::vector<SimQueue> queues_;
  std::vector<std::string> violations_;
  std::vector<std::uint8_t> status_writes_;
  std::uint64_t accepted_ = 0;
  std::uint64_t outside_bar_ = 0;
  std::uint64_t resets_ = 0;
  std::uint32_t feature_select_ = 0;
  std::uint32_t driver_feature_select_ = 0;
  std::uint16_t queue_select_ = 0;
  std::uint16_t config_vector_ = 0xffff;
  std::uint8_t status_ = 0;
  std::uint8_t generation_ = 0;
  std::uint8_t isr_ = 0;
  int reset_reads_left_ = 0;
  bool reset_hangs_ = false;
  bool flip_ = false;
  bool open_ = false;
  bool reset_seen_ = false;        // the driver reset the device and read the 0
  bool features_ok_read_ = false;  // FEATURES_OK was read back
};

}  // namespace spinring::sim
