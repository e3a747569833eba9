#include "lcore/thread.hpp"

#include <csignal>
#include <string>

#include "lcore/errors.hpp"
#include "lcore/kernel_cpu_set.hpp"

namespace spinring::lcore {
namespace {

/// Every signal but those that a thread's own fault raises: blocked, those would kill without a word.
sigset_t outside_signals() noexcept {
  sigset_t set;
  sigfillset(&set);
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&set, fault);
  return set;
}

std::string name_of(const LcoreSpec& spec) {
  return "lcore " + std::to_string(spec.lcore) + " on CPU " + std::to_string(spec.cpu);
}

}  // namespace

void* LcoreThread::run(void* self) {
  auto& lcore = *static_cast<LcoreThread*>(self);
  lcore.entry_(lcore.stop_);
  lcore.finished_.store(true, std::memory_order_release);
  return nullptr;
}

int LcoreThread::create() {
  // The affinity is in the attributes, so the thread never runs a moment anywhere else.
  pthread_attr_t attributes;
  if (const int error = ::pthread_attr_init(&attributes); error != 0) return error;
  KernelCpuSet set;
  set.add(spec_.cpu);
  int error = ::pthread_attr_setaffinity_np(&attributes, KernelCpuSet::bytes(), set.get());
  // A thread inherits the mask of its creator.
  const sigset_t blocked = outside_signals();
  sigset_t former;
  ::pthread_sigmask(SIG_BLOCK, &blocked, &former);
  if (error == 0) error = ::pthread_create(&thread_, &attributes, &LcoreThread::run, this);
  ::pthread_sigmask(SIG_SETMASK, &former, nullptr);
  ::pthread_attr_destroy(&attributes);
  return error;
}

Result<std::unique_ptr<LcoreThread>> LcoreThread::launch(const LcoreSpec& spec, const CpuSet& allowed,
                                                         Entry entry) {
  if (Result<void> ok = check_cpu(spec.cpu, allowed); !ok) return fail(std::move(ok));
  std::unique_ptr<LcoreThread> lcore(new LcoreThread(spec, std::move(entry)));
  if (const int error = lcore->create(); error != 0) {
    return fail(Errc::kThread, "pthread_create", name_of(spec), error,
                "This process may use CPUs " + allowed.to_string() + ".");
  }
  lcore->joinable_ = true;
  ::pthread_setname_np(lcore->thread_, ("lcore-" + std::to_string(spec.lcore)).c_str());
  return lcore;
}

LcoreThread::~LcoreThread() {
  request_stop();
  join();
}

void LcoreThread::join() noexcept {
  if (!joinable_) return;
  ::pthread_join(thread_, nullptr);
  joinable_ = false;
}

Result<void> LcoreThread::stop(Deadline deadline) {
  request_stop();
  if (!wait_until([this] { return finished(); }, deadline)) {
    return fail(Errc::kTimeout, "stopping", name_of(spec_), 0,
                "Its poll has not returned: the device or the program hangs.");
  }
  join();
  return {};
}

}  // namespace spinring::lcore
