//! The virtual kernel as a plain value: threads are played by hand, nothing runs in parallel.

mod board;
mod descriptors;
mod epoll;
mod epoll_model;
mod events;
mod files;
mod hosts;
mod inet;
mod options;
mod threads;
mod unix;
mod world;
