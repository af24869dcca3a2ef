/** Our candidate of the pair that packets travel by. A pair's own state is no help: each consent check makes it "in-progress". */
export async function localCandidate(connection) {
  const stats = await connection.getStats();
  const transport = [...stats.values()].find((s) => s.type === "transport");
  const pair = stats.get(transport?.selectedCandidatePairId);
  return stats.get(pair?.localCandidateId);
}
