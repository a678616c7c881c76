//! Path MTUs that ICMP taught: the exceptions of Linux's routing table.

use std::collections::BTreeMap;
use std::net::IpAddr;

use halfopen_core::SimTime;

use crate::sysctl::Sysctls;

/// Smallest MTU of an IPv6 link (RFC 8200, section 5): smaller claims are not believed (RFC 8201, section 4).
const IPV6_MTU_MIN: u32 = 1280;

/// What is known of the path to one destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PathMtu {
    /// Bytes, IP header included.
    pub mtu: u32,
    /// The path claimed less than `min_pmtu`: DF is no longer set and routers may fragment.
    pub locked: bool,
    expires: SimTime,
}

/// The exceptions, by destination.
#[derive(Debug, Default)]
pub(super) struct PathMtus {
    known: BTreeMap<IpAddr, PathMtu>,
}

impl PathMtus {
    /// What is known at `now`.
    pub fn get(&self, now: SimTime, destination: IpAddr) -> Option<PathMtu> {
        self.known.get(&destination).copied().filter(|known| now < known.expires)
    }

    /// A router says that packets to `destination` must not be larger than `claimed` bytes; `interface_mtu` is what
    /// holds without exception. Gives what is now known if that is news: an MTU that is no smaller than the present
    /// one is ignored (Linux v6.12 net/ipv4/route.c `__ip_rt_update_pmtu`).
    pub fn learn(
        &mut self,
        now: SimTime,
        destination: IpAddr,
        claimed: u32,
        interface_mtu: u32,
        sysctls: &Sysctls,
    ) -> Option<PathMtu> {
        let present = self.get(now, destination);
        let present_mtu = present.map_or(interface_mtu, |known| known.mtu);
        let (mtu, locked) = match destination {
            IpAddr::V4(_) if claimed < sysctls.min_pmtu => (present_mtu.min(sysctls.min_pmtu), true),
            IpAddr::V4(_) => (claimed, false),
            IpAddr::V6(_) if claimed < IPV6_MTU_MIN => return None,
            IpAddr::V6(_) => (claimed, false),
        };
        if claimed == 0 || mtu > present_mtu || present.is_some_and(|known| known.locked) {
            return None;
        }
        // Without an exception, what the interface allows anyway teaches nothing; with one, the same again prolongs it
        // once half its time is over.
        let same = mtu == present_mtu && !locked;
        let young = present.is_some_and(|known| known.expires.since(now) > sysctls.mtu_expires / 2);
        if same && (present.is_none() || young) {
            return None;
        }
        let learned = PathMtu { mtu, locked, expires: now + sysctls.mtu_expires };
        self.known.insert(destination, learned);
        (!same).then_some(learned)
    }

    /// When the exception for this destination ends, if there is one.
    pub fn expiry(&self, destination: IpAddr) -> Option<SimTime> {
        self.known.get(&destination).map(|known| known.expires)
    }

    /// Forgets what has expired for this destination.
    pub fn expire(&mut self, now: SimTime, destination: IpAddr) {
        if self.known.get(&destination).is_some_and(|known| known.expires <= now) {
            self.known.remove(&destination);
        }
    }

    pub fn clear(&mut self) {
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use halfopen_core::SimDuration;

    use super::*;

    #[test]
    fn claims_are_weighed_as_linux_weighs_them() {
        let sysctls = Sysctls::default();
        let at = |s| SimTime::ZERO + SimDuration::from_secs(s);
        let to = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut paths = PathMtus::default();
        let mut learn = |s, destination, claimed| {
            paths.learn(at(s), to(destination), claimed, 1500, &sysctls).map(|known| (known.mtu, known.locked))
        };
        // (seconds, destination, claimed) -> what is news
        assert_eq!(learn(0, "10.0.0.1", 1500), None);
        assert_eq!(learn(0, "10.0.0.1", 1400), Some((1400, false)));
        assert_eq!(learn(1, "10.0.0.1", 1450), None, "an increase is ignored");
        assert_eq!(learn(1, "10.0.0.1", 0), None);
        assert_eq!(learn(2, "10.0.0.1", 1300), Some((1300, false)));
        assert_eq!(learn(603, "10.0.0.1", 1450), Some((1450, false)), "the exception of 2 s ended at 602 s");
        assert_eq!(learn(803, "10.0.0.1", 1450), None, "too early to prolong it");
        assert_eq!(learn(1203, "10.0.0.1", 1490), Some((1490, false)), "so it ended after 600 s");
        assert_eq!(learn(1603, "10.0.0.1", 1490), None, "prolonged");
        assert_eq!(learn(2202, "10.0.0.1", 1495), None, "and still there 600 s later");
        assert_eq!(learn(0, "10.0.0.2", 500), Some((552, true)), "below min_pmtu: locked");
        assert_eq!(learn(1, "10.0.0.2", 400), None);
        assert_eq!(learn(0, "fd00::1", 500), None, "less than any IPv6 link may have");
        assert_eq!(learn(0, "fd00::1", 1280), Some((1280, false)));
    }
}
