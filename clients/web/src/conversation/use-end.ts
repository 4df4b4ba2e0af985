import { type RefObject, useCallback, useEffect, useRef, useState } from "react";

const CLOSE_PIXELS = 40;

export interface End {
  /** What is new is in view, and stays so. */
  isFollowed: boolean;
  jump: () => void;
}

/** Keeps a box scrolled to the end of its content, however that grows, until its reader scrolls up. */
export function useEnd(box: RefObject<HTMLElement | null>, content: RefObject<HTMLElement | null>): End {
  const [isFollowed, setIsFollowed] = useState(true);
  const following = useRef(true);

  const follow = useCallback(() => {
    if (box.current && following.current) box.current.scrollTop = box.current.scrollHeight;
  }, [box]);

  useEffect(() => {
    const element = box.current;
    if (!element || !content.current) return;
    let { scrollTop, scrollHeight, clientHeight } = element;
    const note = () => {
      const isAtEnd = element.scrollHeight - element.scrollTop - element.clientHeight < CLOSE_PIXELS;
      // A box or a content that shrinks moves the content too, which nobody asked for.
      const isSameSize = element.scrollHeight >= scrollHeight && element.clientHeight <= clientHeight;
      if (isAtEnd) following.current = true;
      else if (element.scrollTop < scrollTop && isSameSize) following.current = false;
      ({ scrollTop, scrollHeight, clientHeight } = element);
      setIsFollowed(following.current);
    };
    const observer = new ResizeObserver(follow);
    observer.observe(element);
    observer.observe(content.current);
    element.addEventListener("scroll", note, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", note);
    };
  }, [box, content, follow]);

  const jump = useCallback(() => {
    following.current = true;
    setIsFollowed(true);
    follow();
  }, [follow]);
  return { isFollowed, jump };
}
