//! Descriptions as peers write them, and input that no peer should write.

mod hostile;
mod peers;
