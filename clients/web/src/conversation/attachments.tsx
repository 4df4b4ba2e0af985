import { useState } from "react";

import { ATTACHMENTS, type LogEvent } from "../documents.ts";
import { ask, endpoint } from "../server.ts";
import { size } from "../size.ts";
import { unhidden } from "./unhidden.ts";

type Attachment = Extract<LogEvent, { __typename: "MessageEvent" }>["attachments"][number];

const SHOWN_IMAGE = /^image\/(?:png|jpeg|gif|webp)$/;

/** The files of a message: images in their place, others to be downloaded. */
export function Attachments({ eventId, attachments }: { eventId: string; attachments: readonly Attachment[] }) {
  return attachments.map((attachment, index) =>
    SHOWN_IMAGE.test(attachment.mediaType) && attachment.url ? (
      <AttachedImage key={index} {...{ eventId, attachment, index }} />
    ) : (
      <p key={index}>
        <button
          className="attachment"
          disabled={attachment.url === null}
          onClick={() => void freshAddress(eventId, index).then((url) => url && window.location.assign(url))}
        >
          <bdi>{unhidden(attachment.name)}</bdi> <span className="note">{size(attachment.sizeBytes)}</span>
        </button>
      </p>
    ),
  );
}

interface ImageProps {
  eventId: string;
  attachment: Attachment;
  index: number;
}

function AttachedImage({ eventId, attachment: { name, url }, index }: ImageProps) {
  const [address, setAddress] = useState(url === null ? "" : endpoint(url));
  const [attempts, setAttempts] = useState(0);

  /** Its address holds for five minutes, so an image that is looked at later needs another, once. */
  function renew() {
    setAttempts(attempts + 1);
    if (attempts === 0) freshAddress(eventId, index).then((found) => found && setAddress(found), () => {});
  }

  return <img className="attached-image" src={address} alt={name} loading="lazy" onError={renew} />;
}

async function freshAddress(eventId: string, index: number): Promise<string | null> {
  const { node } = await ask(ATTACHMENTS, { id: eventId });
  const url = node && "attachments" in node ? node.attachments[index]?.url : null;
  return url ? endpoint(url) : null;
}
