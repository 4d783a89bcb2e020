//! temporary
use super::Row;
impl Row {
    /// temporary
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(
            format!(
                "{{\"id\":\"{}\",\"payload\":{}}}",
                self.id,
                self.payload.as_deref().unwrap_or("null")
            )
            .as_bytes(),
        );
    }
}
