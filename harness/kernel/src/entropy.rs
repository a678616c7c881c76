//! Entropy: a ChaCha stream for each host, from the scenario's seed.

use halfopen_core::Errno;

use crate::Kernel;
use crate::fd::Fd;
use crate::file::FileKind;

impl Kernel {
    /// getrandom(2) and getentropy(3) on the current host.
    pub fn getrandom(&mut self, bytes: &mut [u8]) {
        self.count_call();
        self.host_mut().random.fill(bytes);
    }

    /// /dev/urandom and /dev/random as a file.
    ///
    /// # Errors
    /// EMFILE.
    pub fn open_random(&mut self, close_on_exec: bool) -> Result<Fd, Errno> {
        self.count_call();
        self.open_file(FileKind::Random, false, close_on_exec)
    }

    /// What CPU counts say.
    pub fn cpus(&self) -> u32 {
        self.config.cpus
    }
}
