// Where parts of a call's page go that are made elsewhere.
import { useApi } from "./hooks";
import { Ladder } from "./ladder";
import { Card } from "./parts";

/** The messages of a call, one under the other, and why it came to that. */
export function LadderPlace({ gcid }: { gcid: string }) {
  const api = useApi();
  return (
    <Card title="What was said">
      <Ladder gcid={gcid} api={api} />
    </Card>
  );
}
