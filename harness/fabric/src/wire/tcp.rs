//! TCP segments as bytes, options laid out as Linux lays them out (net/ipv4/tcp_output.c, tcp_options_write).

use bytes::Bytes;

use super::{WireError, be16, quad};
use crate::packet::{SeqNum, TcpFlags, TcpOptions, TcpSegment};

/// TCP options take at most 40 bytes: the header's length is counted in 4 bits of 4-byte words.
const OPTIONS_LEN_MAX: usize = 40;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// Appends the segment, with a checksum of zero.
pub(super) fn emit(out: &mut Vec<u8>, segment: &TcpSegment) {
    let options_len = segment.options.wire_len();
    assert!(options_len <= OPTIONS_LEN_MAX, "{options_len} bytes of TCP options");
    out.extend_from_slice(&segment.src_port.to_be_bytes());
    out.extend_from_slice(&segment.dst_port.to_be_bytes());
    out.extend_from_slice(&segment.seq.0.to_be_bytes());
    out.extend_from_slice(&segment.ack.0.to_be_bytes());
    out.extend_from_slice(&[((segment.header_len() / 4) as u8) << 4, segment.flags.0]);
    out.extend_from_slice(&segment.window.to_be_bytes());
    out.extend_from_slice(&[0; 4]); // Checksum, urgent pointer.
    emit_options(out, &segment.options);
    out.extend_from_slice(&segment.payload);
}

fn emit_options(out: &mut Vec<u8>, options: &TcpOptions) {
    if let Some(mss) = options.mss {
        out.extend_from_slice(&[MSS, 4]);
        out.extend_from_slice(&mss.to_be_bytes());
    }
    match (options.sack_permitted, options.timestamps.is_some()) {
        (true, true) => out.extend_from_slice(&[SACK_PERMITTED, 2]),
        (true, false) => out.extend_from_slice(&[NOP, NOP, SACK_PERMITTED, 2]),
        (false, true) => out.extend_from_slice(&[NOP, NOP]),
        (false, false) => {}
    }
    if let Some((value, echo)) = options.timestamps {
        out.extend_from_slice(&[TIMESTAMPS, 10]);
        out.extend_from_slice(&value.to_be_bytes());
        out.extend_from_slice(&echo.to_be_bytes());
    }
    if let Some(scale) = options.window_scale {
        out.extend_from_slice(&[NOP, WINDOW_SCALE, 3, scale]);
    }
    if options.sack_count > 0 {
        out.extend_from_slice(&[NOP, NOP, SACK, 2 + 8 * options.sack_count]);
        for (left, right) in options.sack_blocks() {
            out.extend_from_slice(&left.0.to_be_bytes());
            out.extend_from_slice(&right.0.to_be_bytes());
        }
    }
}

/// The segment in these bytes; the checksum is the caller's business.
pub(super) fn parse(bytes: &Bytes) -> Result<TcpSegment, WireError> {
    let header: &[u8; 20] = bytes.first_chunk().ok_or(WireError::Truncated)?;
    let header_len = usize::from(header[12] >> 4) * 4;
    if header_len < 20 {
        return Err(WireError::BadLength);
    }
    let options = bytes.get(20..header_len).ok_or(WireError::Truncated)?;
    Ok(TcpSegment {
        src_port: be16(header, 0),
        dst_port: be16(header, 2),
        seq: SeqNum(u32::from_be_bytes(quad(header, 4))),
        ack: SeqNum(u32::from_be_bytes(quad(header, 8))),
        flags: TcpFlags(header[13]),
        window: be16(header, 14),
        options: parse_options(options)?,
        payload: bytes.slice(header_len..),
    })
}

/// Unknown options are skipped; the last of two alike counts.
fn parse_options(mut bytes: &[u8]) -> Result<TcpOptions, WireError> {
    let mut options = TcpOptions::default();
    while let Some((&kind, rest)) = bytes.split_first() {
        match kind {
            END => break,
            NOP => {
                bytes = rest;
                continue;
            }
            _ => {}
        }
        let len = usize::from(*rest.first().ok_or(WireError::TcpOption(kind))?);
        let value = bytes.get(2..len).ok_or(WireError::TcpOption(kind))?;
        parse_option(&mut options, kind, value)?;
        bytes = &bytes[len..];
    }
    Ok(options)
}

fn parse_option(options: &mut TcpOptions, kind: u8, value: &[u8]) -> Result<(), WireError> {
    match (kind, value.len()) {
        (MSS, 2) => options.mss = Some(be16(value, 0)),
        (WINDOW_SCALE, 1) => options.window_scale = Some(value[0]),
        (SACK_PERMITTED, 0) => options.sack_permitted = true,
        (TIMESTAMPS, 8) => {
            options.timestamps = Some((u32::from_be_bytes(quad(value, 0)), u32::from_be_bytes(quad(value, 4))));
        }
        (SACK, 8 | 16 | 24 | 32) => {
            options.sack_count = (value.len() / 8) as u8;
            for (block, edges) in options.sack.iter_mut().zip(value.chunks_exact(8)) {
                let edge = |at| SeqNum(u32::from_be_bytes(quad(edges, at)));
                *block = (edge(0), edge(4));
            }
        }
        (MSS | WINDOW_SCALE | SACK_PERMITTED | TIMESTAMPS | SACK, _) => return Err(WireError::TcpOption(kind)),
        _ => {}
    }
    Ok(())
}
