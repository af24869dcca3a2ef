//! What is kept when there is more than may be, and what is said of calls.

mod bounds;
mod captures;
mod silences;
