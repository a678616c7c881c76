//! Packets as a pcapng file with virtual time: one interface for each host, raw IP, nanoseconds.
//!
//! Format: draft-ietf-opsawg-pcapng. Only three kinds of block are needed, so they are written here.

use std::collections::BTreeMap;
use std::io::{self, Write};

use halfopen_core::{HostId, SimTime};

/// Block types, magic numbers and options (draft-ietf-opsawg-pcapng, sections 4.1 to 4.3).
const SECTION_HEADER: u32 = 0x0A0D_0D0A;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1A2B_3C4D;
const OPTION_NAME: u16 = 2;
const OPTION_TIME_RESOLUTION: u16 = 9;
/// Time stamps count units of 10^-9 s.
const NANOSECONDS: u8 = 9;
/// Packets begin with their IPv4 or IPv6 header (LINKTYPE_RAW of the tcpdump.org registry).
const LINKTYPE_RAW: u16 = 101;

/// A capture file as it is written.
pub struct Capture {
    writer: Box<dyn Write + Send>,
    epoch_ns: u64,
    names: BTreeMap<HostId, String>,
    interfaces: BTreeMap<HostId, u32>,
    outcome: io::Result<()>,
}

impl Capture {
    /// A capture whose time 0 is `epoch_ns` nanoseconds after 1970 (the scenario's `epoch`).
    pub fn new(writer: Box<dyn Write + Send>, epoch_ns: u64) -> Capture {
        let (names, interfaces) = (BTreeMap::new(), BTreeMap::new());
        let mut capture = Capture { writer, epoch_ns, names, interfaces, outcome: Ok(()) };
        let mut body = Vec::new();
        body.extend(BYTE_ORDER_MAGIC.to_le_bytes());
        body.extend([1u16, 0].iter().flat_map(|version| version.to_le_bytes()));
        body.extend((-1i64).to_le_bytes());
        capture.block(SECTION_HEADER, &body);
        capture
    }

    /// Names a host's interface; a host that is not named gets its number for a name.
    pub fn declare(&mut self, host: HostId, name: &str) {
        self.names.insert(host, name.to_owned());
        self.interface(host);
    }

    /// Writes one packet as it passes `host`, from the IP header on.
    pub fn packet(&mut self, at: SimTime, host: HostId, bytes: &[u8]) {
        let interface = self.interface(host);
        let time = self.epoch_ns.saturating_add(at.as_nanos());
        let length = (bytes.len() as u32).to_le_bytes();
        let mut body = Vec::with_capacity(bytes.len() + 24);
        body.extend(interface.to_le_bytes());
        body.extend(((time >> 32) as u32).to_le_bytes());
        body.extend((time as u32).to_le_bytes());
        body.extend(length);
        body.extend(length);
        body.extend(bytes);
        pad(&mut body);
        self.block(ENHANCED_PACKET, &body);
    }

    /// Flushes the file.
    ///
    /// # Errors
    /// The first error that writing met; nothing was written after it.
    pub fn finish(mut self) -> io::Result<()> {
        self.outcome.and_then(|()| self.writer.flush())
    }

    fn interface(&mut self, host: HostId) -> u32 {
        if let Some(interface) = self.interfaces.get(&host) {
            return *interface;
        }
        let interface = self.interfaces.len() as u32;
        self.interfaces.insert(host, interface);
        let name = self.names.get(&host).cloned().unwrap_or_else(|| host.to_string());
        let mut body = Vec::new();
        body.extend(LINKTYPE_RAW.to_le_bytes());
        body.extend([0; 6]); // reserved; no limit on the length of packets
        option(&mut body, OPTION_NAME, name.as_bytes());
        option(&mut body, OPTION_TIME_RESOLUTION, &[NANOSECONDS]);
        body.extend([0; 4]); // the end of options
        self.block(INTERFACE_DESCRIPTION, &body);
        interface
    }

    fn block(&mut self, kind: u32, body: &[u8]) {
        assert!(body.len().is_multiple_of(4), "a pcapng block is padded to 32 bits");
        let length = (body.len() as u32 + 12).to_le_bytes();
        if self.outcome.is_ok() {
            let parts: [&[u8]; 4] = [&kind.to_le_bytes(), &length, body, &length];
            self.outcome = parts.iter().try_for_each(|part| self.writer.write_all(part));
        }
    }
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    pad(body);
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}
