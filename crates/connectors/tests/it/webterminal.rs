//! The web terminal connector, told as stories about terminals and those they call.

mod calling;
mod elsewhere;
mod gate;
mod limits;
mod resume;
mod storm;
