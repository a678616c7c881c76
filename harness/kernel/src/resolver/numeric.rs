//! Hosts given as numbers: what `inet_aton` and `inet_pton` of glibc take for an address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::numbers::AI_V4MAPPED;
use super::{GaiError, Target, Wanted};

/// The address that `host` spells; `None` if it is not a number; an error if the number is of a family that is not
/// wanted.
pub(super) fn parse(host: &str, wanted: Wanted, flags: i32) -> Option<Result<Target, GaiError>> {
    let mapped = flags & AI_V4MAPPED != 0;
    if let Some(v4) = parse_v4(host) {
        return Some(match wanted {
            Wanted::V4 | Wanted::Both => Ok(IpAddr::V4(v4).into()),
            Wanted::V6 if mapped => Ok(IpAddr::V6(v4.to_ipv6_mapped()).into()),
            Wanted::V6 => Err(GaiError::AddrFamily),
        });
    }
    let (number, scope) = host.split_once('%').map_or((host, None), |(number, scope)| (number, Some(scope)));
    let v6: Ipv6Addr = number.parse().ok()?;
    let scope = match scope.map(str::parse::<u32>) {
        None => 0,
        Some(Ok(scope)) => scope,
        // Interfaces have numbers only here, so a name of one is not known.
        Some(Err(_)) => return Some(Err(GaiError::NoName)),
    };
    Some(match (wanted, v6.to_ipv4_mapped()) {
        (Wanted::V6 | Wanted::Both, _) => Ok(Target { ip: IpAddr::V6(v6), scope }),
        // Whatever the flags say.
        (Wanted::V4, Some(v4)) => Ok(IpAddr::V4(v4).into()),
        (Wanted::V4, None) => Err(GaiError::AddrFamily),
    })
}

/// inet_aton(3): one to four parts, each decimal, octal (leading 0) or hexadecimal (leading 0x); the last one fills
/// all bytes that are left.
fn parse_v4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u32> = text.split('.').map(parse_part).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    if first.len() > 3 || first.iter().any(|part| *part > 0xff) {
        return None;
    }
    let left_bits = 32 - 8 * first.len() as u32;
    if left_bits < 32 && *last >> left_bits != 0 {
        return None;
    }
    let high = first.iter().enumerate().map(|(index, part)| part << (24 - 8 * index)).sum::<u32>();
    Some(Ipv4Addr::from(high | last))
}

fn parse_part(part: &str) -> Option<u32> {
    let (digits, radix) = match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if part.len() > 1 && part.starts_with('0') => (&part[1..], 8),
        None => (part, 10),
    };
    // `from_str_radix` would take a sign.
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, radix).ok())?
}
