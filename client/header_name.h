/* The characters of a header's name (RFC 9110 section 5.1). A blank before the colon would hide it from one reader and not
   from the next, so a line of the application has to go on with a colon right behind the name. */
#ifndef CLIENT_HEADER_NAME_H
#define CLIENT_HEADER_NAME_H

#define HEADER_NAME "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~"

#endif
