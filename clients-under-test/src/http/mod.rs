//! HTTP clients. All of them speak to `upstream/http`: `GET /items/N` reads, `POST /items/N` stores, and the header
//! `x-op-id` says which op a request serves.

pub mod reqwest;
pub mod ureq;

use halfopen::OpSpec;

/// Says which op a request serves.
pub const OP_HEADER: &str = "x-op-id";
/// Says how many milliseconds the caller will still wait: a deadline that travels with the request.
pub const DEADLINE_HEADER: &str = "x-deadline-ms";

const OPS: &[OpSpec] = &[
    OpSpec { name: "get", doc: "GET an item and read its body.", effect: true },
    OpSpec { name: "post", doc: "POST an item with a body of `body` bytes.", effect: true },
];
